"""What is done to events from outside the step: they are cancelled, or accepted again."""

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace
from typing import Any

from lightning.errors import Conflict, NotFound, Permanent, PreconditionFailed
from lightning.events import EventDocument
from lightning.log import documents
from lightning.log.change import CONTAINER, Change, Changed, Changes, End
from lightning.log.head import HEAD, advance
from lightning.log.last_words import CANCELLED
from lightning.log.portions import portion
from lightning.storage import Operation, Storage, Stored, Where

#: Events that one batch cancels: each may move a conversation and release its next message.
CANCELLED_TOGETHER = 30

#: The error of what is cancelled because another task of its group failed.
GROUP_FAILED = {"code": "group_failed", "message": "Another task of its group did not succeed"}


class Interventions:
    """Changes events that nobody has claimed, or takes them away from whoever has.

    Parameters:
      storage: Where they stand.
      changes: How they are changed.
    """

    def __init__(self, storage: Storage, changes: Changes) -> None:
        self._storage = storage
        self._changes = changes

    async def cancel(
        self, user_id: str, event_id: str, *, by: str | None = None
    ) -> tuple[EventDocument, list[EventDocument]]:
        """Stop what an event belongs to: mark its root, and end all of its tree that is not over.

        What is begun elsewhere meanwhile is ended by the step, which looks at the root.

        Parameters:
          user_id: Whose event.
          event_id: The event.
          by: The ``userID`` of whoever wants it; None is the platform.

        Returns:
          The event as it stands then, and what workers must hear of: what tells of the cancellation, and the
          messages whose turn has come.

        Raises:
          NotFound: There is no such event.
          Conflict: Everything was over already (``already_over``), or it must come to its end
            (``not_cancellable``).
        """
        event = await self._existing(user_id, event_id)
        if event["type"] == "conversation.deleted":
            raise Conflict("a conversation is forgotten as a whole; wait for it", code="not_cancellable")
        released: list[EventDocument] = []
        while True:
            root = await self._storage.get(CONTAINER, user_id, event["root"])
            running = await self._running(user_id, event["root"])
            if not running and (root is None or "cancelledAt" not in root.body):
                raise Conflict("it is over already; nothing is left to cancel", code="already_over")
            if not running:
                return await self._existing(user_id, event_id), released
            try:
                _, changed = await self._end(user_id, _cancellation(root, portion(running), by))
            except PreconditionFailed:
                continue  # a step was faster; what it left is read again
            released += changed.to_announce()

    async def cancel_branches(
        self, user_id: str, root: str, heads: Collection[str], why: dict[str, str]
    ) -> tuple[list[str], list[EventDocument]]:
        """Stop some events of a tree and all that follows from them, and leave the rest of it as it is.

        Parameters:
          user_id: Whose tree.
          root: Its root.
          heads: Ids of the events.
          why: The error that they end with.

        Returns:
          The ids of what was ended, and what workers must hear of.
        """
        causes: dict[str, str | None] = {}
        ended, follow = list[str](), list[EventDocument]()
        while True:
            running = list[Stored]()
            async for page in self._running_pages(user_id, root):
                running += [
                    each for each in page if await self._is_below(user_id, each.body["id"], heads, causes)
                ]
                if len(running) >= CANCELLED_TOGETHER:
                    break
            if not running:
                return ended, follow
            ends = [
                End(documents.as_event(each), each.etag, "cancelled", error=why)
                for each in portion(running[:CANCELLED_TOGETHER])
            ]
            try:
                over, changed = await self._end(user_id, Change(ended=ends))
            except PreconditionFailed:
                continue  # a step was faster; what it left is read again
            ended += [end.event["id"] for end in over]
            follow += changed.to_announce()

    async def _end(self, user_id: str, change: Change) -> tuple[Sequence[End], Changed]:
        """Make a change with as many of its ends, from the first on, as one batch takes.

        What else the batch writes (messages whose turn comes, what tells of the ends) shows only when it is
        planned, and may be larger than what ends.

        Returns:
          What was ended, and what the batch did.

        Raises:
          PreconditionFailed: One of them is not in the version that was read.
          Permanent: Not even one is within the limits.
        """
        while True:
            try:
                return change.ended, await self._changes.apply(user_id, change)
            except Permanent as error:
                if error.code != "output_too_large" or len(change.ended) < 2:
                    raise
            change = replace(change, ended=change.ended[: len(change.ended) // 2])

    async def _is_below(
        self, user_id: str, event_id: str, heads: Collection[str], causes: dict[str, str | None]
    ) -> bool:
        """Tell whether an event is one of some, or follows from one, at whatever distance."""
        at: str | None = event_id
        while at is not None and at not in heads:
            if at not in causes:
                stored = await self._storage.get(CONTAINER, user_id, at)
                causes[at] = None if stored is None else stored.body["cause"]
            at = causes[at]
        return at is not None

    async def _running(self, user_id: str, root: str) -> list[Stored]:
        """List some of what is not over of a tree, if there is any."""
        async for page in self._running_pages(user_id, root):
            if page:
                return page
        return []

    async def _running_pages(self, user_id: str, root: str) -> AsyncIterator[list[Stored]]:
        """List what is not over of a tree, but for what only tells of a cancellation."""
        where, page = [Where("root", "=", root), Where("state", "=", "accepted")], None
        while True:
            found = await self._storage.query(
                CONTAINER, user_id, where, order_by="seq", limit=CANCELLED_TOGETHER, page=page
            )
            yield [each for each in found.items if not each.body.get("despiteCancel")]
            page = found.next
            if page is None:
                return

    async def revive(self, user_id: str, event_id: str, *, by: str | None = None) -> list[EventDocument]:
        """Accept a dead event again, as if it had never been tried.

        Parameters:
          user_id: Whose event.
          event_id: The event.
          by: The ``userID`` of whoever wants it; None is the platform.

        Returns:
          What workers must hear of.

        Raises:
          NotFound: There is no such event.
          Conflict: It is not dead (``not_dead``).
        """
        while True:
            stored = await self._stored(user_id, event_id)
            if stored.body["state"] != "dead":
                raise Conflict("only a dead event can be accepted again", code="not_dead")
            try:
                event = documents.acted(documents.as_event(stored), "replay", by)
                changed = await self._changes.apply(user_id, Change(revived=[(event, stored.etag)]))
            except PreconditionFailed:
                continue
            return changed.to_announce()

    async def discard(self, user_id: str, event_id: str, *, by: str | None = None) -> EventDocument:
        """Let a dead event count as cancelled: nobody is to look at it again. Why it died stays with it.

        Parameters:
          user_id: Whose event.
          event_id: The event.
          by: The ``userID`` of whoever wants it; None is the platform.

        Raises:
          NotFound: There is no such event.
          Conflict: It is not dead (``not_dead``), or it must come to its end (``not_cancellable``).
        """
        while True:
            stored = await self._stored(user_id, event_id)
            if stored.body["state"] != "dead":
                raise Conflict("only a dead event can be discarded", code="not_dead")
            if stored.body["type"] == "conversation.deleted":
                raise Conflict("a conversation is forgotten as a whole; replay it", code="not_cancellable")
            dead = documents.acted(documents.as_event(stored), "discard", by)
            event = documents.discarded(dead)

            def build(
                head: Stored | None, event: EventDocument = event, etag: str = stored.etag
            ) -> list[Operation]:
                move, _ = advance(head, user_id, [], {"dead": -1, "cancelled": 1})
                return [documents.replacing(event, etag), move]

            try:
                await self._storage.batch_on(CONTAINER, user_id, HEAD, build)
            except PreconditionFailed:
                continue  # it was replayed, or discarded, meanwhile
            self._changes.moves.count([(event["type"], "dead", "cancelled")])
            return event

    async def record_late(self, user_id: str, event_id: str, outputs: list[dict[str, Any]]) -> bool:
        """Note on a cancelled event what would have followed from it.

        Returns:
          Whether it was noted: only a cancelled event takes a late result, and only the first.
        """
        while True:
            stored = await self._storage.get(CONTAINER, user_id, event_id)
            if stored is None or stored.body["state"] != "cancelled":
                return False
            if "late" in stored.body or "erased" in stored.body:
                return False
            event = documents.with_late_result(documents.as_event(stored), outputs)
            try:
                await self._storage.batch(CONTAINER, user_id, [documents.replacing(event, stored.etag)])
            except PreconditionFailed:
                continue
            return True

    async def _existing(self, user_id: str, event_id: str) -> EventDocument:
        return documents.as_event(await self._stored(user_id, event_id))

    async def _stored(self, user_id: str, event_id: str) -> Stored:
        stored = await self._storage.get(CONTAINER, user_id, event_id)
        if stored is None or stored.body["kind"] != "event":
            raise NotFound("there is no such event, or it is not yours")
        return stored


def _cancellation(root: Stored | None, running: Sequence[Stored], by: str | None) -> Change:
    ended: list[End] = []
    for stored in running:
        event = documents.as_event(stored)
        if event["id"] == event["root"]:
            event = documents.marked_cancelled(event, by)
        ended.append(End(event, stored.etag, "cancelled", error=CANCELLED))
    mark = root is not None and root.body["state"] != "accepted" and "cancelledAt" not in root.body
    if root is None or not mark:
        return Change(ended=ended)
    marked = documents.marked_cancelled(documents.as_event(root), by)
    return Change(ended=ended, writes=[documents.replacing(marked, root.etag)])
