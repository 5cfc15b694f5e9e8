"""The event log of every user: facts in order, each with its state.

Only this class changes events. Each change is one conditional batch in the
user's partition, so two workers can never both decide the same thing.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, cast

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft, EventDocument, State
from lightning.ids import conversation_document_id
from lightning.log import documents
from lightning.log.change import CONTAINER, Change, Changes, End
from lightning.log.head import HEAD
from lightning.log.interventions import Interventions
from lightning.log.turns import as_conversation, turn_of
from lightning.log.verdict import Claimed, Ended, Later, Verdict, Void
from lightning.storage import Operation, Page, Replace, Storage, Stored, Where


class EventLog:
    """Reads and changes the events of all users.

    Parameters:
      storage: Where they stand.
      sweep_seconds: An event that nobody claimed so long after it was due counts as overlooked.
      clock: The present moment in seconds since 1970; it orders nothing.
    """

    def __init__(
        self, storage: Storage, *, sweep_seconds: float = 30.0, clock: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._changes = Changes(storage, sweep_seconds, clock)
        self.interventions = Interventions(storage, self._changes)

    async def append(
        self, user_id: str, drafts: Sequence[Draft], *, writes: Sequence[Operation] = ()
    ) -> list[EventDocument]:
        """Record events that follow from nothing of ours, and what is written with them, all or none.

        A message whose conversation is busy is recorded without ``dueAt``: it is announced in its turn.

        Raises:
          Conflict: One of them is recorded already (``pointer`` is its id), or its conversation does not
            take it (``conversation_busy``, ``conversation_full``, ``conversation_deleted``).
          PreconditionFailed: A document to be written with them was changed meanwhile.
        """
        created = [(draft, None) for draft in drafts]
        changed = await self._changes.apply(user_id, Change(created, writes=writes))
        return changed.created

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
    ) -> list[EventDocument]:
        """List a user's events by place.

        Parameters:
          user_id: Whose.
          where: Further conditions on the declared fields.
          after: Only places beyond this one.
          descending: Newest first.
          before: Only places ahead of this one.
          limit: At most so many, 1 to 1,000.
        """
        conditions = [Where("kind", "=", "event"), Where("seq", ">", after), *where]
        if before is not None:
            conditions.append(Where("seq", "<", before))
        page: Page = await self._storage.query(
            CONTAINER, user_id, conditions, order_by="seq", descending=descending, limit=limit
        )
        return [documents.as_event(item) for item in page.items]

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

    async def claim(self, user_id: str, event_id: str, wake: int, owner: str, seconds: float) -> Verdict:
        """Take an event to work on, in one conditional write that also counts the attempt.

        Parameters:
          user_id: The partition.
          event_id: The event.
          wake: The wake that the message answers.
          owner: Who claims it, unlike anybody else.
          seconds: How long the claim holds without renewal.

        Returns:
          The claim, or why there is none; None when there is no such event.
        """
        verdicts: list[Verdict] = []

        def build(stored: Stored | None) -> list[Operation]:
            verdict = self._judge(stored, wake)
            verdicts.append(verdict)
            if not isinstance(verdict, Claimed):
                return []
            until = self._clock() + seconds
            event = documents.claimed(verdict.event, {"owner": owner, "until": until}, first=True)
            verdicts.append(Claimed(event, verdict.etag))
            return [_replace(event, verdict.etag)]

        etags = await self._storage.batch_on(CONTAINER, user_id, event_id, build)
        verdict = verdicts[-1]
        return Claimed(verdict.event, etags[0]) if isinstance(verdict, Claimed) else verdict

    def _judge(self, stored: Stored | None, wake: int) -> Verdict:
        if stored is None:
            return None
        event = documents.as_event(stored)
        if event["state"] != "accepted":
            return Ended(event)
        if event["wake"] > wake or event["dueAt"] is None:
            return Void()
        now = self._clock()
        if event["claim"] is not None and event["claim"]["until"] > now:
            return Later(event, event["claim"]["until"])
        if event["dueAt"] > now:
            return Later(event, event["dueAt"])
        return Claimed(event, stored.etag)

    async def renew(self, claim: Claimed, owner: str, seconds: float) -> Claimed:
        """Hold an event longer.

        Raises:
          PreconditionFailed: It is not ours any more.
        """
        until = self._clock() + seconds
        event = documents.claimed(claim.event, {"owner": owner, "until": until}, first=False)
        etags = await self._storage.batch(CONTAINER, event["userID"], [_replace(event, claim.etag)])
        return Claimed(event, etags[0])

    async def end(
        self,
        claim: Claimed,
        state: State,
        *,
        outputs: Sequence[Draft] = (),
        writes: Sequence[Operation] = (),
        error: dict[str, str] | None = None,
    ) -> list[EventDocument]:
        """End a claimed event and record what follows from it, in one batch.

        Returns:
          What workers must hear of: the outputs as they were recorded, and the message whose turn has come.

        Raises:
          PreconditionFailed: The event is not ours any more; nothing was changed.
          Permanent: The outcome is over the limits (``output_too_large``).
        """
        cause = claim.event
        end = End(cause, claim.etag, state, [draft.id for draft in outputs], error)
        known: set[str] = set()
        while True:
            created = [(draft, cause) for draft in outputs if draft.id not in known]
            try:
                changed = await self._changes.apply(cause["userID"], Change(created, [end], writes=writes))
            except PreconditionFailed:
                raise
            except Conflict as conflict:
                # an event that was dead and is replayed has some of its outputs already
                if conflict.pointer not in {draft.id for draft, _ in created}:
                    raise
                known.add(conflict.pointer)
            else:
                return changed.to_announce()

    async def postpone(
        self, claim: Claimed, after_seconds: float, *, attempts: int, error: dict[str, str] | None = None
    ) -> EventDocument:
        """Give a claimed event back, to be looked at later under the next wake.

        Raises:
          PreconditionFailed: The event is not ours any more; nothing was changed.
        """
        due = self._clock() + after_seconds
        event = documents.postponed(
            claim.event, due, due + self._sweep_seconds, attempts=attempts, error=error
        )
        await self._storage.batch(CONTAINER, event["userID"], [_replace(event, claim.etag)])
        return event

    async def overlooked(self, limit: int, page: str | None = None) -> Page:
        """List accepted events of all users that should have been worked on by now, oldest first."""
        where = [Where("sweepAt", "<=", self._clock())]
        return await self._storage.query(CONTAINER, None, where, order_by="sweepAt", limit=limit, page=page)

    async def sweep(self, stored: Stored) -> EventDocument | None:
        """Note that an overlooked event is announced again.

        Returns:
          The event to announce, or None when somebody was faster.
        """
        event = documents.swept(documents.as_event(stored), self._clock(), self._sweep_seconds)
        try:
            await self._storage.batch(CONTAINER, event["userID"], [_replace(event, stored.etag)])
        except PreconditionFailed:
            return None
        return event

    async def is_cancelled(self, event: EventDocument) -> bool:
        """Tell whether nothing is to follow from an event any more, because its root was cancelled."""
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


def _replace(event: EventDocument, etag: str) -> Replace:
    return Replace(cast("dict[str, Any]", event), etag)
