"""What was asked of the emulated model, for whoever judges it."""

from collections import Counter, deque
from dataclasses import dataclass, field

import orjson

from ops.emulators.openai.request import JsonObject

#: Bodies that are kept; counts cover every request.
KEPT_REQUESTS = 5_000


@dataclass(slots=True)
class Entry:
    """One request.

    Parameters:
      body: As it came.
      path: Where it was sent, with the query.
      authorization: Whether it had a key or a token, which are never kept.
      step: The number of the step that applied; None for the default, or when it was refused before.
      status: The status answered; None while it waits for one.
      missing: The texts that the step demanded in vain.
      outcome: ``open``, ``answered``, ``refused`` (any error), ``cut`` (by the script) or
        ``disconnected`` (by the client).
    """

    body: bytes
    path: str
    authorization: bool
    step: int | None = None
    status: int | None = None
    missing: list[str] = field(default_factory=list[str])
    outcome: str = "open"

    def as_json(self) -> JsonObject:
        """Give it for people and tests."""
        try:
            body: object = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            body = self.body.decode(errors="replace")
        return {
            "body": body,
            "path": self.path,
            "authorization": self.authorization,
            "step": self.step,
            "status": self.status,
            "missing": self.missing,
            "outcome": self.outcome,
        }


class Journal:
    """All requests: the latest in full, every one in the counts."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._entries: deque[Entry] = deque(maxlen=KEPT_REQUESTS)
        self._count = 0
        self._outcomes: Counter[str] = Counter()
        self._last_user_messages: Counter[str] = Counter()
        self._unscripted = 0
        self._missing = 0

    def begin(self, body: bytes, *, path: str, authorization: bool) -> Entry:
        """Record a request when it comes."""
        entry = Entry(body=body, path=path, authorization=authorization)
        self._entries.append(entry)
        self._count += 1
        return entry

    def understood(self, entry: Entry, last_user_message: str, step: int | None, missing: list[str]) -> None:
        """Record what it says and which step it met."""
        entry.step, entry.missing = step, missing
        self._last_user_messages[last_user_message] += 1
        self._unscripted += step is None
        self._missing += bool(missing)

    def end(self, entry: Entry, outcome: str) -> None:
        """Record how it went out."""
        entry.outcome = outcome
        self._outcomes[outcome] += 1

    def as_json(self) -> JsonObject:
        """Give the requests in order of arrival."""
        return {"count": self._count, "requests": [entry.as_json() for entry in self._entries]}

    def summary(self) -> JsonObject:
        """Give the counts, so that thousands of requests can be judged."""
        messages = self._last_user_messages
        return {
            "count": self._count,
            "outcomes": {**self._outcomes, "open": self._count - self._outcomes.total()},
            "unscripted": self._unscripted,
            "missing": self._missing,
            "distinct": len(messages),
            "repeated": {message: count for message, count in messages.items() if count > 1},
            "by_last_user_message": dict(messages),
        }
