"""The event log of every user: facts in order, each with its state.

Only this class changes events. Each change is one conditional batch in the
user's partition, so two workers can never both decide the same thing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft, EventDocument, State
from lightning.log import documents
from lightning.log.head import HEAD, advance
from lightning.storage import Create, Operation, Page, Replace, Storage, Stored, Where

CONTAINER = "events"


@dataclass(frozen=True, slots=True)
class Claimed:
    """The event is ours until the claim runs out; ``etag`` is the version we hold."""

    event: EventDocument
    etag: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The event needs nobody any more."""

    event: EventDocument


@dataclass(frozen=True, slots=True)
class Later:
    """Another worker has it, or it is not due: look again at ``at`` (seconds since 1970)."""

    event: EventDocument
    at: float


@dataclass(frozen=True, slots=True)
class Void:
    """The message answers a wake that is over."""


Verdict = Claimed | Ended | Later | Void | None


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

    async def append(self, user_id: str, drafts: Sequence[Draft]) -> list[EventDocument]:
        """Record events that follow from nothing of ours, all or none.

        Raises:
          Conflict: One of them is recorded already; ``pointer`` is its id.
        """
        events: list[EventDocument] = []

        def build(head: Stored | None) -> list[Operation]:
            events.clear()
            move, places = advance(head, user_id, ["accepted"] * len(drafts), {})
            events.extend(self._new(draft, user_id, seq) for draft, seq in zip(drafts, places, strict=True))
            return [move, *(_create(event) for event in events)]

        await self._storage.batch_on(CONTAINER, user_id, HEAD, build)
        return events

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
        if event["wake"] > wake:
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
          The outputs, as they were recorded.

        Raises:
          PreconditionFailed: The event is not ours any more; nothing was changed.
          Permanent: The outcome is over the limits (``output_too_large``).
        """
        cause, user_id = claim.event, claim.event["userID"]
        known: set[str] = set()
        created: list[EventDocument] = []

        def build(head: Stored | None) -> list[Operation]:
            drafts = [draft for draft in outputs if draft.id not in known]
            change = {"accepted": -1, state: 1}
            move, places = advance(head, user_id, ["accepted"] * len(drafts), change)
            pairs = zip(drafts, places, strict=True)
            created[:] = [self._new(draft, user_id, seq, cause) for draft, seq in pairs]
            event = documents.ended(cause, state, [draft.id for draft in outputs], error)
            return [_replace(event, claim.etag), move, *(_create(each) for each in created), *writes]

        while True:
            try:
                await self._storage.batch_on(CONTAINER, user_id, HEAD, build)
            except PreconditionFailed:
                raise
            except Conflict as conflict:
                # an event that was dead and is replayed has some of its outputs already
                if conflict.pointer not in {draft.id for draft in outputs} - known:
                    raise
                known.add(conflict.pointer)
            else:
                return created

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

    def _new(self, draft: Draft, user_id: str, seq: int, cause: EventDocument | None = None) -> EventDocument:
        now = self._clock()
        return documents.new_event(
            draft, user_id, seq, now=now, sweep_at=now + self._sweep_seconds, cause=cause
        )


def _create(event: EventDocument) -> Create:
    return Create(cast("dict[str, Any]", event))


def _replace(event: EventDocument, etag: str) -> Replace:
    return Replace(cast("dict[str, Any]", event), etag)
