"""One change of a user's log: events that begin and end together, with all that must change with them.

Every change is one conditional batch. It moves the head (places and counters), and the queues of the
conversations whose messages it accepts or ends; the message whose turn comes is released by the same batch.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft, EventDocument, State
from lightning.ids import conversation_document_id
from lightning.log import documents
from lightning.log.head import HEAD, advance
from lightning.log.turns import Turns, turn_of, turn_of_draft
from lightning.storage import Create, Operation, Replace, Storage, Stored

CONTAINER = "events"

INTERRUPTED = {"code": "interrupted", "message": "a later message of the conversation took its place"}


@dataclass(frozen=True, slots=True)
class End:
    """An event that ends.

    Parameters:
      event: As it was read; further fields may have been changed.
      etag: The version that was read.
      state: What it ends as.
      outputs: Ids of what follows from it.
      error: Why it did not end well.
    """

    event: EventDocument
    etag: str
    state: State
    outputs: Sequence[str] = ()
    error: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What one batch does.

    Parameters:
      created: Drafts, each with the event that it follows from.
      ended: Events that end.
      revived: Dead events that are accepted again, each in the version that was read.
      writes: Further documents of the user's partition.
    """

    created: Sequence[tuple[Draft, EventDocument | None]] = ()
    ended: Sequence[End] = ()
    revived: Sequence[tuple[EventDocument, str]] = ()
    writes: Sequence[Operation] = ()


@dataclass(slots=True)
class Changed:
    """What a batch did.

    Parameters:
      created: The new events.
      revived: The events that were accepted again.
      released: Messages whose turn has come.
    """

    created: list[EventDocument] = field(default_factory=list[EventDocument])
    revived: list[EventDocument] = field(default_factory=list[EventDocument])
    released: list[EventDocument] = field(default_factory=list[EventDocument])

    def to_announce(self) -> list[EventDocument]:
        """List the events that workers must hear of."""
        return [*self.created, *self.revived, *self.released]


class Changes:
    """Applies changes.

    Parameters:
      storage: Where the events stand.
      sweep_seconds: An event that nobody claimed so long after it was due counts as overlooked.
      clock: The present moment in seconds since 1970.
    """

    def __init__(self, storage: Storage, sweep_seconds: float, clock: Callable[[], float]) -> None:
        self._storage = storage
        self._sweep_seconds = sweep_seconds
        self._clock = clock

    async def apply(self, user_id: str, change: Change) -> Changed:
        """Make a change, or nothing of it.

        What it reads by itself (conversations, and the messages whose turn comes) is read again when somebody
        else was faster.

        Raises:
          PreconditionFailed: An event that is to end or to be revived is not in the version named.
          Conflict: A draft is recorded already (``pointer`` is its id), or a conversation does not take it.
          Permanent: The batch is over the limits.
        """
        held_by_caller = {end.event["id"] for end in change.ended} | {
            event["id"] for event, _ in change.revived
        }
        drafted = {draft.id for draft, _ in change.created}
        for attempt in itertools.count():
            plan = await self._plan(user_id, change, sure=attempt > 0)
            try:
                await self._storage.batch_on(CONTAINER, user_id, HEAD, plan.build)
            except PreconditionFailed as lost:
                if lost.pointer in held_by_caller or lost.pointer not in plan.read:
                    raise
            except Conflict as taken:
                if taken.pointer in drafted or taken.pointer not in plan.read:
                    raise
            else:
                return plan.changed
        raise AssertionError("it is tried until it is done")

    async def _plan(self, user_id: str, change: Change, *, sure: bool) -> "_Plan":
        turns = await self._turns(user_id, change, sure=sure)
        interrupted = _move(turns, change)
        own = {draft.id for draft, _ in change.created} | {event["id"] for event, _ in change.revived}
        released = [
            each.front
            for each in turns.values()
            if each.front is not None and each.front != each.front_before and each.front not in own
        ]
        if not own.isdisjoint(interrupted):
            raise Conflict("one of them interrupts another", code="interrupts_another")
        others = await self._events(user_id, [*interrupted, *released])
        now = self._clock()
        return _Plan(user_id, change, turns, interrupted, released, others, now, now + self._sweep_seconds)

    async def _turns(self, user_id: str, change: Change, *, sure: bool) -> dict[str, Turns]:
        wanted: dict[str, bool] = {}
        for draft, _ in change.created:
            if (conversation := turn_of_draft(draft)) is not None:
                # a conversation that has the id of this very message most likely does not exist yet
                named = sure or conversation != draft.id
                wanted[conversation] = wanted.get(conversation, False) or named
        for event in (*(end.event for end in change.ended), *(event for event, _ in change.revived)):
            if (conversation := turn_of(event)) is not None:
                wanted[conversation] = True
        read = [conversation for conversation, exists in wanted.items() if exists]
        stored = await asyncio.gather(*(self._conversation(user_id, conversation) for conversation in read))
        found = dict(zip(read, stored, strict=True))
        return {name: Turns(user_id, name, found.get(name)) for name in wanted}

    async def _conversation(self, user_id: str, conversation: str) -> Stored | None:
        return await self._storage.get(CONTAINER, user_id, conversation_document_id(conversation))

    async def _events(self, user_id: str, ids: Sequence[str]) -> dict[str, Stored]:
        found = await asyncio.gather(*(self._storage.get(CONTAINER, user_id, each) for each in ids))
        return {stored.body["id"]: stored for stored in found if stored is not None}


def _move(turns: dict[str, Turns], change: Change) -> list[str]:
    """Let every message of a change leave or join its conversation's queue; list the interrupted ones."""
    interrupted: list[str] = []
    for end in change.ended:
        if (conversation := turn_of(end.event)) is not None:
            turns[conversation].leave(end.event["id"])
    for event, _ in change.revived:
        if (conversation := turn_of(event)) is not None:
            turns[conversation].join(event["id"], "", "enqueue")
    for draft, _ in change.created:
        if (conversation := turn_of_draft(draft)) is not None:
            content, when_busy = draft.metadata["content"], draft.metadata.get("whenBusy", "enqueue")
            interrupted += turns[conversation].join(draft.id, content, when_busy)
    return interrupted


@dataclass
class _Plan:
    """A change with all that was read for it."""

    user_id: str
    change: Change
    turns: dict[str, Turns]
    interrupted: list[str]
    released: list[str]
    others: dict[str, Stored]
    now: float
    sweep_at: float
    changed: Changed = field(default_factory=Changed)

    @property
    def read(self) -> set[str | None]:
        """The ids of what the plan rests on: when one of them was changed, another plan is made."""
        return {*self.others, *(conversation_document_id(name) for name in self.turns)}

    def build(self, head: Stored | None) -> list[Operation]:
        """Write the plan as a batch on the head."""
        drafts = self.change.created
        move, seqs = advance(head, self.user_id, ["accepted"] * len(drafts), self._states())
        pairs = zip(drafts, seqs, strict=True)
        created = [self._created(draft, cause, seq) for (draft, cause), seq in pairs]
        revived = [(self._revived(event), etag) for event, etag in self.change.revived]
        released = [(self._released(self.others[each]), self.others[each].etag) for each in self.released]
        self.changed = Changed(created, [event for event, _ in revived], [event for event, _ in released])
        places = {event["id"]: event["seq"] for event in created}
        return [
            *(_replace(_ended(end), end.etag) for end in self.change.ended),
            *(_replace(event, etag) for event, etag in revived),
            move,
            *(Create(cast("dict[str, Any]", event)) for event in created),
            *(operation for turns in self.turns.values() for operation in turns.operations(places)),
            *(
                _replace(self._interrupted(self.others[each]), self.others[each].etag)
                for each in self.interrupted
            ),
            *(_replace(event, etag) for event, etag in released),
            *self.change.writes,
        ]

    def _states(self) -> Counter[str]:
        states = Counter({"cancelled": len(self.interrupted), "dead": -len(self.change.revived)})
        states.update(end.state for end in self.change.ended)
        states["accepted"] = len(self.change.revived) - len(self.change.ended) - len(self.interrupted)
        return Counter({state: number for state, number in states.items() if number})

    def _waits(self, conversation: str | None, event_id: str) -> bool:
        return conversation is not None and self.turns[conversation].front != event_id

    def _created(self, draft: Draft, cause: EventDocument | None, seq: int) -> EventDocument:
        event = documents.new_event(
            draft, self.user_id, seq, now=self.now, sweep_at=self.sweep_at, cause=cause
        )
        return documents.held(event) if self._waits(turn_of_draft(draft), draft.id) else event

    def _revived(self, event: EventDocument) -> EventDocument:
        again = documents.revived(event, self.now, self.sweep_at)
        return documents.held(again) if self._waits(turn_of(event), event["id"]) else again

    def _released(self, stored: Stored) -> EventDocument:
        return documents.released(documents.as_event(stored), self.now, self.sweep_at)

    def _interrupted(self, stored: Stored) -> EventDocument:
        return documents.ended(documents.as_event(stored), "cancelled", [], INTERRUPTED)


def _ended(end: End) -> EventDocument:
    return documents.ended(end.event, end.state, list(end.outputs), end.error)


def _replace(event: EventDocument, etag: str) -> Replace:
    return Replace(cast("dict[str, Any]", event), etag)
