"""A person at the pages, without a browser: what it would send, and what it would get."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from typing import Any

import httpx2

from lightning.events import Draft, now_text
from lightning.log import Claimed, EventLog
from tests.api.conftest import PASSWORD, PATIENCE_SECONDS, Ingress, Person


class Visitor:
    """A person who has logged in, or has not yet.

    Parameters:
      person: Who.
    """

    def __init__(self, person: Person) -> None:
        self.person = person
        self._csrf: tuple[str | None, str] = (None, "")
        self.http = httpx2.Client(
            base_url=person.ingress.url, trust_env=False, timeout=PATIENCE_SECONDS, follow_redirects=True
        )

    def log_in(self, password: str = PASSWORD, **fields: str) -> httpx2.Response:
        form = {"username": self.person.username, "password": password, **fields}
        return self.http.post("/dashboard/login", data=form)

    def get(self, path: str, /, **query: Any) -> httpx2.Response:
        return self.http.get(f"/dashboard{path}", params=query)

    def page(self, path: str, /, **query: Any) -> str:
        """Give the text of a page that must be there."""
        answer = self.get(path, **query)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        return answer.text

    @property
    def csrf(self) -> str:
        """What the forms of this session have."""
        cookie = self.http.cookies.get("lightning_dashboard")
        if self._csrf[0] != cookie:
            self._csrf = cookie, self._read_csrf()
        return self._csrf[1]

    def _read_csrf(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', self.page("/"))
        assert found is not None
        return found[1]

    def post(self, path: str, /, **fields: Any) -> httpx2.Response:
        """Send a form of one of the pages."""
        return self.http.post(f"/dashboard{path}", data={"csrf": self.csrf, **fields})


@contextmanager
def visiting(person: Person) -> Iterator[Visitor]:
    """Log a person in for as long as the block lasts."""
    visitor = Visitor(person)
    with visitor.http:
        answer = visitor.log_in()
        assert answer.status_code == 200, answer.text
        assert answer.url.path == "/dashboard/", answer.url
        yield visitor


def ended(ingress: Ingress, person: Person, event_id: str, state: str, **outcome: Any) -> None:
    """End an event, as a worker does that is not here."""

    async def end(log: EventLog) -> None:
        event = await log.get(person.id, event_id)
        assert event is not None
        claim = await log.claim(person.id, event_id, event["wake"], "me", 10)
        assert isinstance(claim, Claimed)
        await log.end(claim, state, **outcome)

    with ingress.accounts() as made:
        made.run(end(EventLog(made.storage)))
        ingress.catch_up(made.storage)


def answered(
    ingress: Ingress, person: Person, content: str, answer: str, **more: Any
) -> tuple[dict[str, Any], str]:
    """Have a chat answered, as a worker does that is not here; give its event, and the id of the answer."""
    event = person.says(content)
    conversation = event["metadata"]["conversationID"]
    metadata = {"content": answer, "conversationID": conversation, "model": "echo", **more}
    response = Draft(f"answer-{event['id']}", "llm.chat.response", "t", metadata, now_text(), {})
    ended(ingress, person, event["id"], "done", outputs=[response])
    return event, response.id


def text_of(page: str) -> str:
    """Give what a page says, without its markup."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())
