"""What can be asked of the event log of every user."""

from collections.abc import Iterable, Sequence
from typing import Any

from lightning.events import EventDocument
from lightning.ids import conversation_document_id
from lightning.log import documents
from lightning.log.change import CONTAINER
from lightning.log.head import HEAD
from lightning.log.turns import as_conversation, turn_of
from lightning.log.verdict import Claimed
from lightning.storage import Page, Storage, Where


class Events(list[EventDocument]):
    """A page of events in order of their places.

    Parameters:
      events: The events.
      more: Whether there are further ones behind the last.
    """

    def __init__(self, events: Iterable[EventDocument] = (), *, more: bool = False) -> None:
        super().__init__(events)
        self.more = more


class LogReader:
    """Reads the events of all users, and changes none.

    Parameters:
      storage: Where they stand.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def get(self, user_id: str, event_id: str) -> EventDocument | None:
        """Read one event."""
        stored = await self._storage.get(CONTAINER, user_id, event_id)
        return documents.as_event(stored) if stored and stored.body["kind"] == "event" else None

    async def events(
        self,
        user_id: str,
        where: Sequence[Where] = (),
        *,
        after: int = 0,
        descending: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> Events:
        """List a user's events by place, a page at a time.

        Parameters:
          user_id: Whose.
          where: Further conditions on the declared fields.
          after: Only places beyond this one.
          descending: Newest first.
          before: Only places ahead of this one.
          limit: At most so many, 1 to 1,000; a page of large events ends before that.
        """
        conditions = [Where("kind", "=", "event"), Where("seq", ">", after), *where]
        if before is not None:
            conditions.append(Where("seq", "<", before))
        page: Page = await self._storage.query(
            CONTAINER, user_id, conditions, order_by="seq", descending=descending, limit=limit
        )
        return Events((documents.as_event(item) for item in page.items), more=page.next is not None)

    async def check(self) -> None:
        """Find out whether events can be recorded now, without recording any.

        Raises:
          Transient: They cannot.
        """
        await self._storage.batch(CONTAINER, "health", [])

    async def head(self, user_id: str) -> dict[str, Any]:
        """Read the last place given and the number of events in each state."""
        stored = await self._storage.get(CONTAINER, user_id, HEAD)
        return {"seq": 0, "counts": {}} if stored is None else stored.body

    async def is_cancelled(self, event: EventDocument) -> bool:
        """Tell whether nothing is to follow from an event any more, because its root was cancelled."""
        if event.get("despiteCancel"):
            return False
        if event["root"] == event["id"]:
            return "cancelledAt" in event
        root = await self._storage.get(CONTAINER, event["userID"], event["root"])
        return root is not None and "cancelledAt" in root.body

    async def holds(self, claim: Claimed) -> bool:
        """Tell whether a claimed event is still as we left it."""
        stored = await self._storage.get(CONTAINER, claim.event["userID"], claim.event["id"])
        return stored is not None and stored.etag == claim.etag

    async def front(self, event: EventDocument) -> EventDocument | None:
        """Give the message that is to be answered now in the conversation of a turn, if there is one."""
        conversation = turn_of(event)
        if conversation is None:
            return None
        stored = await self._storage.get(CONTAINER, event["userID"], conversation_document_id(conversation))
        turns = [] if stored is None else as_conversation(stored)["turns"]
        return await self.get(event["userID"], turns[0]) if turns else None

    def session(self) -> str | None:
        """Give the token with which another process reads at least what this one has written."""
        return self._storage.session(CONTAINER)

    def resume(self, session: str | None) -> None:
        """Read at least what the process that gave the token had written."""
        if session is not None:
            self._storage.resume(CONTAINER, session)
