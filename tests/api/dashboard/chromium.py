"""Debian's Chromium, driven through the pages, and what must never happen on one of them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright

from tests.api.conftest import PASSWORD, PATIENCE_SECONDS, Person

AXE = Path(__file__).parents[3] / ".venv" / "node" / "node_modules" / "axe-core" / "axe.min.js"

#: The same engine: the first has no windows around it, and takes half as long for that.
PROGRAMS = ("chromium-headless-shell", "chromium")

#: It asks nobody but the server under test: no updates, no lists, no reports.
ARGUMENTS = [
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-domain-reliability",
    "--disable-gpu",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--metrics-recording-only",
    "--no-first-run",
    "--no-proxy-server",
    "--no-sandbox",
]


#: What a page does by itself, as Chromium measures it.
WORK = {"ScriptDuration", "RecalcStyleDuration", "LayoutDuration"}


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a browser for as long as the block lasts; without one, the test is skipped."""
    path = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if path is None:
        pytest.skip("there is no chromium: apt-get install chromium-headless-shell")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


def faults_of(page: Page, url: str) -> list[str]:
    """Note from now on what must not happen on a page: an error of its own, a request to another host."""
    host, faults = urlsplit(url).netloc, list[str]()
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if urlsplit(asked.url).netloc == host else faults.append(asked.url))
    return faults


def serious(page: Page, *rules: str) -> list[str]:
    """Name what axe-core finds serious on a page, by these rules or by all."""
    if not AXE.exists():
        pytest.skip("there is no axe-core: npm could not install it")
    # told to the browser from outside: the policy of the page would let no such script in
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE.read_text())
    chosen = {"runOnly": list(rules)} if rules else {}
    judged = "async options => (await axe.run(options)).violations"
    found = page.evaluate(judged, {"resultTypes": ["violations"], **chosen})
    return [
        f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]


class Tab:
    """A person's tab, watched for what must not happen.

    Parameters:
      browser: The browser.
      person: Who.
      options: Of the context, such as the colour scheme.
    """

    def __init__(self, browser: Browser, person: Person, **options: Any) -> None:
        self.person = person
        self.context: BrowserContext = browser.new_context(**options)
        self.context.set_default_timeout(PATIENCE_SECONDS * 1000)
        self.page: Page = self.context.new_page()
        self._devtools: CDPSession | None = None
        self.faults = faults_of(self.page, person.ingress.url)

    def open(self, path: str) -> Page:
        """Show one of the pages."""
        answer = self.page.goto(f"{self.person.ingress.url}/dashboard{path}")
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return self.page

    def log_in(self) -> Page:
        """Log in as a person does who has a keyboard only."""
        page = self.open("/")
        page.get_by_label("Name").fill(self.person.username)
        page.keyboard.press("Tab")
        page.keyboard.type(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{self.person.ingress.url}/dashboard/")
        return page

    def serious(self, *rules: str) -> list[str]:
        """Name what axe-core finds serious on the page that is shown, by these rules or by all."""
        return serious(self.page, *rules)

    def work(self) -> dict[str, float]:
        """Tell for how long the page was scripted, styled and laid out so far.

        In seconds of CPU, which are the same on a busy machine.
        """
        if self._devtools is None:
            self._devtools = self.context.new_cdp_session(self.page)
            self._devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        told = self._devtools.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in told if each["name"] in WORK}

    def close(self) -> None:
        self.context.close()
