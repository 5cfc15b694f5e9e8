"""A chat beside a real platform, and a person's tab in a real browser."""

import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect

from api.chat.installed import INSTALL, is_installed
from lightning.client import Client
from ops.chaos.installation import PASSWORD, Installation, ModelServer, until
from ops.ports import free_port
from ops.up import chat_process
from tests.api.conftest import PATIENCE_SECONDS
from tests.api.dashboard.chromium import chromium, faults_of, serious

RUN = {"name": "run_agent", "arguments": {"agent": "echo", "input": "canary-of-the-run"}}
WRITE = {
    "name": "write_files",
    "arguments": {"files": [{"path": "note.txt", "content": "canary-of-the-file"}], "message": "Note"},
}
WORK = {"name": "run_agent", "arguments": {"agent": "openai_shell", "input": "canary-of-the-shell"}}
FINISH = {"name": "finish", "arguments": {"succeeded": True, "summary": "It is blue, and done."}}
SCRIPT_IN_TEXT = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>"

SCRIPT = [
    {
        "last_contains": ["Take your time"],
        "reply": "one two three four",
        "chunks": 4,
        "hold": True,
        "hold_after": 2,
    },
    {"last_contains": ["Do both"], "times": 1, "tool_calls": [RUN, WRITE]},
    {
        "contains": ["Do both"],
        "require": ["canary-of-the-run", "succeeded", "It is done, as commit"],
        "reply": "Both are done.",
    },
    {"last_contains": ["Be evil"], "reply": f"{SCRIPT_IN_TEXT}\n\n![pixel](https://evil.example/pixel.png)"},
    {"last_contains": ["Ask me first"], "times": 1, "tool_calls": [WRITE]},
    {"last_contains": ["Write it"], "times": 1, "tool_calls": [WRITE]},
    {"last_contains": ["Offer me buttons"], "tool_calls": [WRITE]},
    {"last_contains": ["Work and ask"], "times": 1, "tool_calls": [WORK]},
    # the agent, which works until it is let go on
    {"last_contains": ["canary-of-the-shell"], "tool_calls": [FINISH], "hold": True, "hold_after": 0},
    {"last_contains": ["No tools, please"], "times": 1, "status": 400, "error": "tools are not supported"},
]

PEOPLE = ("ada", "bob")

SMALL = {
    "LIGHTNING_CLAIM_SECONDS": "5",
    "LIGHTNING_SWEEP_SECONDS": "1",
    "LIGHTNING_TRUSTED_PROXIES": "127.0.0.1",
}

expect.set_options(timeout=PATIENCE_SECONDS * 1000)


class ChatTab:
    """A person's tab, watched for what must not happen.

    Parameters:
      context: The browser, where nobody is logged in.
      url: Where the chat listens.
      name: Who.
    """

    def __init__(self, context: BrowserContext, url: str, name: str) -> None:
        self.url, self.name = url, name
        self.context = context
        self.page: Page = context.new_page()
        self.faults = faults_of(self.page, url)
        self._told: Counter[str] = Counter()
        self.page.on("websocket", lambda socket: socket.on("framereceived", self._take))

    def log_in(self, password: str = PASSWORD) -> None:
        self.page.goto(f"{self.url}/chat/login")
        self.page.locator("#email").fill(self.name)
        self.page.locator("#password").fill(password)
        self.page.keyboard.press("Enter")

    def close(self) -> None:
        """Leave nothing to whoever is next but what the browser has fetched."""
        self.context.clear_cookies()
        self.page.evaluate("localStorage.clear()")
        self.page.close()

    def say(self, text: str) -> None:
        self.page.locator("#chat-input").fill(text)
        self.page.locator("#chat-submit").click()

    def serious(self) -> list[str]:
        """Name what axe-core finds serious on the page that is shown."""
        return serious(self.page)

    def open(self, title: str) -> None:
        """Open a conversation from the list, until the page has all of it: it draws what it has anew then."""
        before = self._told["resume_thread"]
        self.page.get_by_role("link", name=title).click()
        self._await("resume_thread", before)

    def reload(self) -> None:
        """Load an opened conversation anew, until the page has all of it: its address names it."""
        before = self._told["resume_thread"]
        self.page.reload()
        self._await("resume_thread", before)

    def connected(self) -> None:
        """Wait until the chat knows the page."""
        self._await("clear_call_fn", 0)

    def _await(self, frame: str, before: int) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._told[frame] == before:
            assert time.monotonic() < deadline, f"the page is not told {frame}"
            self.page.wait_for_timeout(20)  # in which the browser's events are taken

    def _take(self, frame: str | bytes) -> None:
        text = frame if isinstance(frame, str) else ""
        if text.startswith('42["'):
            self._told[text[4:].partition('"')[0]] += 1

    @property
    def last_answer(self) -> Locator:
        return self.page.locator(".ai-message").last

    def conversation(self, client: Client) -> str:
        """Find the id of the conversation that was last spoken in."""
        return client.conversations(limit=1)["conversations"][0]["id"]


@dataclass
class Chat:
    """A running chat.

    Parameters:
      url: Where it listens.
      installation: The platform that it is a client of.
      model: The model that answers.
      log: What it prints.
    """

    url: str
    installation: Installation
    model: ModelServer
    log: Path

    def client(self, name: str) -> Client:
        """Give a client of somebody who has an account."""
        client = Client(self.installation.url)
        client.log_in(name, PASSWORD)
        return client


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    if not is_installed():
        pytest.skip(INSTALL)
    folder = tmp_path_factory.mktemp("chat")
    with (
        ModelServer(folder, SCRIPT) as model,
        Installation(folder / "data", {**SMALL, **model.environment()}) as installation,
    ):
        for name in PEOPLE:
            installation.register(name, PASSWORD)
        told = {"chat_api": installation.url, "chat_port": free_port()}
        process = chat_process(installation.settings.model_copy(update=told))
        url = f"http://127.0.0.1:{told['chat_port']}"
        with (folder / "chat.log").open("w") as printed:
            running = subprocess.Popen(
                process.command,
                env={**process.environment, "LIGHTNING_LOG_LEVEL": "info"},
                stdout=printed,
                stderr=subprocess.STDOUT,
            )
            try:
                until(lambda: healthy(url) or running.poll() is not None, "the chat is up", seconds=60)
                yield Chat(url, installation, model, folder / "chat.log")
            finally:
                running.send_signal(15)
                assert running.wait(20) in {0, -15}, (folder / "chat.log").read_text()


def healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/api/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


@pytest.fixture(scope="module")
def browser(chat: Chat) -> Iterator[Browser]:
    del chat  # accounts are made by an event loop, and the browser has one that runs
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def context(browser: Browser) -> BrowserContext:
    """Give where one tab after another is opened: what the page is made of is fetched once."""
    return patient(browser)


def patient(browser: Browser) -> BrowserContext:
    """Give what shares nothing with other contexts, as another person's browser does."""
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_SECONDS * 1000)
    return context
