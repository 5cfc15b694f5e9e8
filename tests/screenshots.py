"""`make screenshots`: the pictures of the README, of a real platform at work."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import httpx2
from playwright.sync_api import expect

from ops.chaos.installation import ModelServer, until
from ops.ports import free_port
from tests.api.dashboard.chromium import chromium

LIGHTNING = str(Path(sys.executable).with_name("lightning"))
SALES = "country,amount\nFrance,120\nIndia,340\nFrance,80\nIndia,60\n"
TOTALS = "country,amount\nFrance,200\nIndia,400\n"

#: What the model does in the chat; all else it repeats.
SCRIPT = [
    {
        "last_contains": ["Sum up"],
        "times": 1,
        "tool_calls": [
            {"name": "run_agent", "arguments": {"agent": "echo", "input": TOTALS}},
            {
                "name": "write_files",
                "arguments": {"files": [{"path": "totals.csv", "content": TOTALS}], "message": "Add totals"},
            },
        ],
    },
    {
        "contains": ["Sum up"],
        "reply": "The totals are in `totals.csv`:\n\n"
        "| country | amount |\n|---|---|\n| France | 200 |\n| India | 400 |",
    },
]

PICTURES = Path(__file__).parents[1] / "docs" / "screenshots"


def main() -> None:
    """Start a platform, have it do something, and take the pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ModelServer(Path(folder), SCRIPT) as model,
        httpx2.Client(trust_env=False) as http,
    ):
        data, url, chat = Path(folder) / "data", *(f"http://127.0.0.1:{free_port()}" for _ in range(2))
        where = ["--data", str(data)]
        up = subprocess.Popen(
            [LIGHTNING, "up", *where, "--port", url.rpartition(":")[2], "--chat", "--quiet"],
            env={**os.environ, **model.environment(), "LIGHTNING_CHAT_PORT": chat.rpartition(":")[2]},
        )
        try:
            until((data / "first_user.json").exists, "there is a first user", seconds=120)
            until(lambda: healthy(http, url), "it is up", seconds=120)
            work([*where, "--url", url])
            first = json.loads((data / "first_user.json").read_text())
            shoot(url, first)
            until(lambda: healthy(http, chat), "the chat is up", seconds=120)
            shoot_chat(chat, first)
        finally:
            up.terminate()
            up.wait(60)


def healthy(http: httpx2.Client, url: str) -> bool:
    try:
        return http.get(f"{url}/api/health").status_code == 200
    except httpx2.HTTPError:
        return False


def work(where: list[str]) -> None:
    """Have something of everything done."""

    def lightning(*arguments: str) -> str:
        command = [LIGHTNING, *arguments, *where]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout

    for said in ("Hello, Lightning", "What is new?", "Summarize the report", "And in one sentence?"):
        lightning("send", said, "--conversation", "news")
    lightning("schedule", "create", "What is new?", "--cron", "0 9 * * 1-5", "--timezone", "Europe/Berlin")
    lightning("runs", "start", "echo", "--input", '{"text": "Hello from a container"}', "--network", "none")
    lightning("runs", "start", "nobody", "--input", "{}", "--network", "none")
    until(
        lambda: '"accepted"' not in lightning("events", "--json").replace(" ", ""),
        "all of it is over",
        seconds=120,
    )


def shoot(url: str, first: dict[str, str]) -> None:
    """Take the pictures."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for scheme in ("light", "dark"):
            context = browser.new_context(viewport={"width": 1100, "height": 760}, color_scheme=scheme)
            page = context.new_page()
            page.goto(f"{url}/dashboard/")
            page.get_by_label("Name").fill(first["username"])
            page.get_by_label("Password").fill(first["password"])
            page.get_by_role("button", name="Log in").click()
            page.wait_for_url(f"{url}/dashboard/")
            if scheme == "light":
                page.screenshot(path=PICTURES / "overview.png")
                page.goto(f"{url}/dashboard/runs")
                page.get_by_role("link", name="echo").first.click()
                page.locator("#printed").wait_for()
                page.screenshot(path=PICTURES / "run.png")
            else:
                page.goto(f"{url}/dashboard/events?type=worker.task")
                page.get_by_role("link", name="worker.task").last.click()
                page.locator("#trace").scroll_into_view_if_needed()
                page.locator("#trace").evaluate("heading => heading.scrollIntoView()")
                page.screenshot(path=PICTURES / "trace.png")
            context.close()


def shoot_chat(url: str, first: dict[str, str]) -> None:
    """Have something done in the chat, and take its picture."""
    with chromium() as browser:
        context = browser.new_context(viewport={"width": 1100, "height": 1000}, color_scheme="light")
        page = context.new_page()
        page.goto(f"{url}/chat/")
        page.locator("#email").fill(first["username"])
        page.locator("#password").fill(first["password"])
        page.keyboard.press("Enter")
        expect(page.locator("#upload-button")).to_be_enabled()
        file = {"name": "sales.csv", "mimeType": "text/csv", "buffer": SALES.encode()}
        page.locator("input[type=file]").first.set_input_files(file)
        expect(page.get_by_text("sales.csv")).to_be_visible()
        page.locator("#chat-input").fill("Sum up the sales by country")
        page.locator("#chat-submit").click()
        buttons = page.get_by_role("button", name="Approve exactly this")
        for left in (1, 0):
            buttons.first.click()
            expect(buttons).to_have_count(left)
        page.get_by_role("link", name="totals.csv").wait_for()
        page.screenshot(path=PICTURES / "chat.png")
        context.close()


if __name__ == "__main__":
    main()
