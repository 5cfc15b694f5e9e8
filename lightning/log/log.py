"""The event log of every user: facts in order, each with its state.

Only this package changes events. Each change is one conditional batch in the
user's partition, so two workers can never both decide the same thing.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft, EventDocument, State
from lightning.log import documents
from lightning.log.all_users import AllUsers
from lightning.log.change import CONTAINER, Change, Changes, End
from lightning.log.interventions import Interventions
from lightning.log.jumps import Jumps
from lightning.log.overdue import Overdue
from lightning.log.reader import LogReader
from lightning.log.verdict import Claimed, Ended, Later, Verdict, Void
from lightning.storage import Operation, Storage, Stored

#: Of the events that a user has under way, those beyond so many are bulk: enough for a person with a few
#: conversations, and so few that nobody waits long behind those of another.
BULK_ABOVE: Final = 20


class EventLog(LogReader):
    """Reads and changes the events of all users.

    Parameters:
      storage: Where they stand.
      sweep_seconds: An event that nobody claimed so long after it was due counts as overlooked.
      clock: The present moment in seconds since 1970; it orders nothing.
      jumps: Notices when the clock was put forward or back; without it nobody does.
      bulk_above: Of the events that a user has under way, those beyond so many go behind everybody else's.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        sweep_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
        jumps: Jumps | None = None,
        bulk_above: int = BULK_ABOVE,
    ) -> None:
        super().__init__(storage)
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._jumps = jumps
        self._changes = Changes(storage, sweep_seconds, clock, bulk_above)
        self.interventions = Interventions(storage, self._changes)
        self.overdue = Overdue(storage, sweep_seconds, clock, jumps)
        self.all_users = AllUsers(storage)

    async def append(
        self,
        user_id: str,
        drafts: Sequence[Draft],
        *,
        writes: Sequence[Operation] = (),
        cause: EventDocument | None = None,
    ) -> list[EventDocument]:
        """Record events that nothing of ours ends with, and what is written with them, all or none.

        A message whose conversation is busy is recorded without ``dueAt``: it is announced in its turn.

        Raises:
          Conflict: One of them is recorded already (``pointer`` is its id), or its conversation does not
            take it (``conversation_busy``, ``conversation_full``, ``conversation_deleted``).
          PreconditionFailed: A document to be written with them was changed meanwhile.
        """
        created = [(draft, cause) for draft in drafts]
        changed = await self._changes.apply(user_id, Change(created, writes=writes))
        return changed.created

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
            return [documents.replacing(event, verdict.etag)]

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
        if event["claim"] is not None and not documents.is_ahead(event, now):
            held_until = max(event["claim"]["until"], now + self._settling_seconds())
            if held_until > now:
                return Later(event, held_until)
        if wait := documents.seconds_until_due(event, now):
            return Later(event, now + wait)
        return Claimed(event, stored.etag)

    def _settling_seconds(self) -> float:
        return 0.0 if self._jumps is None else self._jumps.settling_seconds()

    async def renew(self, claim: Claimed, owner: str, seconds: float) -> Claimed:
        """Hold an event longer.

        Raises:
          PreconditionFailed: It is not ours any more.
        """
        until = self._clock() + seconds
        event = documents.claimed(claim.event, {"owner": owner, "until": until}, first=False)
        etags = await self._storage.batch(
            CONTAINER, event["userID"], [documents.replacing(event, claim.etag)]
        )
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
        end = End(claim.event, claim.etag, state, [draft.id for draft in outputs], error)
        return await self._follow(claim.event, outputs, Change(ended=[end], writes=writes))

    async def go_on(
        self,
        claim: Claimed,
        after_seconds: float,
        outputs: Sequence[Draft],
        *,
        attempts: int,
        error: dict[str, str] | None = None,
    ) -> list[EventDocument]:
        """Give a claimed event back as `postpone` does, with what follows from it already, in one batch.

        Returns:
          What workers must hear of, the event itself too.

        Raises:
          PreconditionFailed: The event is not ours any more; nothing was changed.
          Permanent: The outputs are over the limits (``output_too_large``).
        """
        event = self._later(claim, after_seconds, attempts, error)
        listed = documents.with_outputs(event, [draft.id for draft in outputs])
        follow = await self._follow(
            claim.event, outputs, Change(writes=[documents.replacing(listed, claim.etag)])
        )
        return [*follow, listed]

    async def follow(self, cause: EventDocument, drafts: Sequence[Draft]) -> list[EventDocument]:
        """Record what follows from an event while that goes on; what is recorded already stays as it is.

        Returns:
          What workers must hear of.

        Raises:
          Permanent: It is over the limits (``output_too_large``).
        """
        return await self._follow(cause, drafts, Change())

    async def _follow(
        self, cause: EventDocument, outputs: Sequence[Draft], change: Change
    ) -> list[EventDocument]:
        """Make a change with events that follow from one; give what workers must hear of."""
        known: set[str] = set()
        while True:
            created = [(draft, cause) for draft in outputs if draft.id not in known]
            if not (created or change.ended or change.writes):
                return []
            try:
                changed = await self._changes.apply(cause["userID"], replace(change, created=created))
            except PreconditionFailed:
                raise
            except Conflict as conflict:
                # an event that was dead and is replayed has some of its outputs already
                if conflict.pointer not in {draft.id for draft, _ in created}:
                    raise
                known.add(conflict.pointer)
            else:
                return changed.to_announce()

    async def follow_ended(self, event: EventDocument, drafts: Sequence[Draft]) -> list[EventDocument]:
        """Record what follows from an event that is over; what is recorded already stays as it is.

        Returns:
          What workers must hear of.
        """
        while True:
            stored = await self._storage.get(CONTAINER, event["userID"], event["id"])
            if stored is None:
                return []
            cause = documents.as_event(stored)
            new = [draft for draft in drafts if draft.id not in cause["outputs"]]
            if not new:
                return []
            listed = documents.with_outputs(cause, [draft.id for draft in new])
            change = Change(
                [(draft, cause) for draft in new], writes=[documents.replacing(listed, stored.etag)]
            )
            try:
                changed = await self._changes.apply(event["userID"], change)
            except PreconditionFailed:
                continue
            return changed.to_announce()

    async def postpone(
        self, claim: Claimed, after_seconds: float, *, attempts: int, error: dict[str, str] | None = None
    ) -> EventDocument:
        """Give a claimed event back, to be looked at later under the next wake.

        Raises:
          PreconditionFailed: The event is not ours any more; nothing was changed.
        """
        event = self._later(claim, after_seconds, attempts, error)
        await self._storage.batch(CONTAINER, event["userID"], [documents.replacing(event, claim.etag)])
        return event

    def _later(
        self, claim: Claimed, after_seconds: float, attempts: int, error: dict[str, str] | None
    ) -> EventDocument:
        due = self._clock() + after_seconds
        return documents.postponed(
            claim.event,
            due,
            due + self._sweep_seconds,
            wait_seconds=after_seconds,
            attempts=attempts,
            error=error,
        )

    async def put_aside(
        self, user_id: str, event_id: str, wake: int, after_seconds: float
    ) -> EventDocument | None:
        """Leave a due event unclaimed for now, under its next wake.

        It stays due, so that it may be claimed at once; the sweep passes it over meanwhile.

        Parameters:
          user_id: The partition.
          event_id: The event.
          wake: The wake that the message answers.
          after_seconds: When its next message comes, at the latest.

        Returns:
          The event to announce; None when a claim would not be had now.
        """
        found: list[EventDocument | None] = []

        def build(stored: Stored | None) -> list[Operation]:
            verdict = self._judge(stored, wake)
            if not isinstance(verdict, Claimed):
                found.append(None)
                return []
            look_at = self._clock() + after_seconds
            event = documents.put_aside(verdict.event, look_at, self._sweep_seconds)
            found.append(event)
            return [documents.replacing(event, verdict.etag)]

        await self._storage.batch_on(CONTAINER, user_id, event_id, build)
        return found[-1]

    async def hasten(self, user_id: str, event_id: str) -> EventDocument | None:
        """Let an event that was put off be due now.

        Returns:
          The event to announce; None when it was not put off: it is due, over, or somebody has it.
        """
        found: list[EventDocument | None] = []

        def build(stored: Stored | None) -> list[Operation]:
            event = None if stored is None else documents.as_event(stored)
            now = self._clock()
            if stored is None or event is None or not documents.is_put_off(event, now):
                found.append(None)
                return []
            due = documents.released(event, now, now + self._sweep_seconds)
            found.append(due)
            return [documents.replacing(due, stored.etag)]

        await self._storage.batch_on(CONTAINER, user_id, event_id, build)
        return found[-1]
