"""The delivery log: what was sent to an endpoint, each attempt, and what came back.

A delivery is a `webhook.delivery` event, and its state is the event's. Beside
it stands one document with its attempts. An attempt is noted as soon as it is
over and before the step commits what follows from it: so the log tells of a
request even where the worker died right behind it. Where the worker died in
the midst, the next attempt notes the one that is missing.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from lightning.errors import Conflict
from lightning.events import EventDocument
from lightning.log import EventLog, public
from lightning.storage import Create, Operation, Replace, Storage, Stored, Where

#: The latest attempts that are kept of a delivery.
MAX_ATTEMPTS: Final = 20

#: What is noted of one delivery.
KIND: Final = "webhook.attempts"

#: Deliveries whose answers one batch forgets.
FORGOTTEN_TOGETHER: Final = 50

CONTAINER: Final = "events"

#: What receivers are told of an event: what can never change, so that a repetition says the same.
_SENT: Final = (
    "id", "seq", "type", "source", "userID", "timestamp", "recordedAt", "metadata", "root", "cause",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to deliver.

    Parameters:
      number: Its place among the attempts of its delivery; a replay begins anew.
      at: When it began (RFC 3339); None where only its absence is known.
      milliseconds: How long it took.
      status: The HTTP status, if there was one.
      error: Why it did not work, None where it did.
      message: The same for people.
      answer: The first bytes of the answer.
    """

    number: int
    at: str | None
    milliseconds: int
    status: int | None
    error: str | None
    message: str | None
    answer: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery with its attempts, the latest last."""

    event: EventDocument
    attempts: Sequence[Attempt]


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """A page of deliveries, and whether there are further ones."""

    deliveries: Sequence[Delivery]
    more: bool


class Deliveries:
    """The deliveries of all users.

    Parameters:
      storage: Where attempts stand.
      log: Where the events are.
    """

    def __init__(self, storage: Storage, log: EventLog) -> None:
        self._storage = storage
        self._log = log

    async def note(self, event: EventDocument, attempt: Attempt) -> None:
        """Add an attempt to a delivery; what came back is left out when the event delivered is forgotten."""
        document = attempts_id(event["id"])
        # what is delivered says whether it is forgotten, so the note rests on it; a test has nothing else
        delivered = event["metadata"].get("eventID", document)
        while True:
            stored = await self._storage.get(CONTAINER, event["userID"], document)

            def build(pivot: Stored | None, stored: Stored | None = stored) -> list[Operation]:
                body = _noted(event, attempt, stored, {} if pivot is None else pivot.body)
                return [Create(body) if stored is None else Replace(body, stored.etag)]

            try:
                await self._storage.batch_on(CONTAINER, event["userID"], delivered, build)
            except Conflict:
                continue  # it was noted, or forgotten, by somebody else meanwhile
            return

    async def find(self, user_id: str, webhook_id: str, delivery_id: str) -> EventDocument | None:
        """Find a delivery to an endpoint."""
        event = await self._log.get(user_id, delivery_id)
        if event is None or event["type"] != "webhook.delivery" or event.get("webhookID") != webhook_id:
            return None
        return event

    async def latest(
        self, user_id: str, webhook_id: str, *, before: int | None = None, limit: int = 50
    ) -> DeliveryPage:
        """List the deliveries to an endpoint, newest first, a page at a time.

        Parameters:
          user_id: The endpoint's owner.
          webhook_id: The endpoint.
          before: Only places in the log ahead of this one.
          limit: At most so many.
        """
        where = [Where("webhookID", "=", webhook_id)]
        events = await self._log.events(user_id, where, before=before, descending=True, limit=limit)
        found = await self._attempts(user_id, [event["id"] for event in events])
        return DeliveryPage([Delivery(event, found.get(event["id"], [])) for event in events], events.more)

    async def _attempts(self, user_id: str, deliveries: Sequence[str]) -> dict[str, list[Attempt]]:
        """Read the attempts of those deliveries that have any."""
        names = {attempts_id(each): each for each in deliveries}
        where = [Where("id", "in", tuple(names))]
        found: dict[str, list[Attempt]] = {}
        page: str | None = None
        while True:
            answer = await self._storage.query(CONTAINER, user_id, where, page=page)
            for stored in answer.items:
                found[names[stored.body["id"]]] = [Attempt(**each) for each in stored.body["attempts"]]
            page = answer.next
            if page is None:
                return found


async def forget_answers(storage: Storage, user_id: str, conversation_id: str) -> None:
    """Forget what receivers answered to what was said in a conversation; that it was sent is kept.

    Raises:
      PreconditionFailed: An attempt was noted meanwhile; what it left is found the next time.
    """
    where = [Where("kind", "=", KIND), Where("conversationID", "=", conversation_id)]
    while True:
        found = await storage.query(CONTAINER, user_id, where, order_by="seq", limit=FORGOTTEN_TOGETHER)
        if not found.items:
            return
        writes = [Replace(_forgotten(stored.body), stored.etag) for stored in found.items]
        await storage.batch(CONTAINER, user_id, writes)


def payload(event: EventDocument | None, delivery: EventDocument) -> bytes:
    """Write what is posted: type, timestamp and data (Standard Webhooks, "Payload structure").

    Parameters:
      event: What is delivered; None for a test.
      delivery: The delivery, which is what a test tells of.
    """
    told = public(event or delivery)
    body = {
        "type": "webhook.test" if event is None else event["type"],
        "timestamp": told["timestamp"],
        "data": {name: told[name] for name in _SENT},
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def attempts_id(delivery_id: str) -> str:
    """Give the id of the document of the attempts at a delivery."""
    return f"attempts-{delivery_id}"


def _noted(
    event: EventDocument, attempt: Attempt, stored: Stored | None, delivered: dict[str, Any]
) -> dict[str, Any]:
    attempts: list[dict[str, Any]] = [] if stored is None else stored.body["attempts"]
    last = attempts[-1]["number"] if attempts else 0
    lost = [asdict(_lost(number)) for number in range(last + 1, attempt.number)]
    body = {
        "id": attempts_id(event["id"]),
        "userID": event["userID"],
        "kind": KIND,
        "attempts": [*attempts, *lost, asdict(attempt)][-MAX_ATTEMPTS:],
    }
    if delivered.get("erased"):
        return _forgotten(body)
    if "conversationID" in delivered:
        return {**body, "conversationID": delivered["conversationID"], "seq": event["seq"]}
    return body


def _forgotten(body: dict[str, Any]) -> dict[str, Any]:
    """Leave out what receivers answered, and whose words they repeat."""
    kept = {name: value for name, value in body.items() if name not in {"conversationID", "seq"}}
    return {**kept, "attempts": [{**attempt, "answer": ""} for attempt in body["attempts"]]}


def _lost(number: int) -> Attempt:
    message = "the worker died before it could note what came back"
    return Attempt(number, None, 0, None, "interrupted", message, "")
