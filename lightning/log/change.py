"""One change of a user's log: events that begin and end together, with all that must change with them.

Every change is one conditional batch. It moves the head (places and counters), and the queues of the
conversations whose messages it accepts or ends; the message whose turn comes is released by the same batch.
"""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

from lightning.errors import Conflict, PreconditionFailed
from lightning.events import Draft, EventDocument, State
from lightning.ids import conversation_document_id, run_id
from lightning.log import documents
from lightning.log.head import HEAD, advance
from lightning.log.last_words import last_words, told_of
from lightning.log.moves import NEW, Moves
from lightning.log.portions import portion
from lightning.log.turns import CONTINUED, Turns, turn_of, turn_of_draft
from lightning.storage import Create, Operation, Storage, Stored

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
      bulk_above: Of the events that a user has under way, those beyond so many are marked as bulk.
    """

    def __init__(
        self, storage: Storage, sweep_seconds: float, clock: Callable[[], float], bulk_above: int
    ) -> None:
        self._storage = storage
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._bulk_above = bulk_above
        self.moves = Moves()

    async def apply(self, user_id: str, change: Change) -> Changed:
        """Make a change, or nothing of it.

        What it reads by itself (conversations, and the messages whose turn comes) is read again when somebody
        else was faster. Where a message interrupts more than fits into its batch, those that wait are
        interrupted first, in batches of their own.

        Raises:
          PreconditionFailed: An event that is to end or to be revived is not in the version named.
          Conflict: A draft is recorded already (``pointer`` is its id), or a conversation does not take it.
          Permanent: The batch is over the limits.
        """
        change = await self._with_last_words(user_id, change)
        held_by_caller = {end.event["id"] for end in change.ended} | {
            event["id"] for event, _ in change.revived
        }
        drafted = {draft.id for draft, _ in change.created}
        for attempt in itertools.count():
            plan = await self._plan(user_id, change, sure=attempt > 0)
            if surplus := plan.surplus():
                await self._interrupt(user_id, drafted, surplus)
                continue
            try:
                await self._storage.batch_on(CONTAINER, user_id, HEAD, plan.build)
            except PreconditionFailed as lost:
                if lost.pointer in held_by_caller or lost.pointer not in plan.read:
                    raise
            except Conflict as taken:
                if taken.pointer in drafted or taken.pointer not in plan.read:
                    raise
            else:
                self.moves.count(plan.moved())
                return plan.changed
        raise AssertionError("it is tried until it is done")

    async def _interrupt(self, user_id: str, drafted: set[str], surplus: Sequence[Stored]) -> None:
        """Interrupt some of those that wait, because all of them are too many for the batch that does it.

        The message that interrupts is recorded last: if the process dies here, its sender was promised
        nothing, and the message that is being answered goes on.

        Raises:
          Conflict: The message that interrupts is recorded already; what came after it is not its concern.
        """
        for name in drafted:
            if await self._storage.get(CONTAINER, user_id, name) is not None:
                raise Conflict("it is recorded already", pointer=name)
        ended = [End(documents.as_event(each), each.etag, "cancelled", error=INTERRUPTED) for each in surplus]
        with suppress(PreconditionFailed):  # one of them was released meanwhile, or is over
            await self.apply(user_id, Change(ended=ended))

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
        others = await self._read(user_id, [*interrupted, *released])
        now = self._clock()
        sweep_at = now + self._sweep_seconds
        return _Plan(user_id, change, turns, interrupted, released, others, now, sweep_at, self._bulk_above)

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
        documents_of = {conversation: conversation_document_id(conversation) for conversation in read}
        stored = await self._read(user_id, documents_of.values())
        found = {conversation: stored.get(document) for conversation, document in documents_of.items()}
        return {name: Turns(user_id, name, found.get(name)) for name in wanted}

    async def _with_last_words(self, user_id: str, change: Change) -> Change:
        """Let each event that is cancelled be followed by what tells of it, in the same batch."""
        created, ended = list(change.created), list[End]()
        for end in change.ended:
            told = None
            if end.state == "cancelled":
                begun = await self._has_begun(user_id, end.event)
                known = await self._read(user_id, told_of(end.event))
                told = last_words(end.event, begun=begun, why=end.error, known=known)
            if told is None:
                ended.append(end)
            else:
                created.append((told, end.event))
                ended.append(replace(end, outputs=[*end.outputs, told.id]))
        return replace(change, created=created, ended=ended)

    async def _has_begun(self, user_id: str, event: EventDocument) -> bool:
        """Tell whether the run of a task that something would undo is known to have begun."""
        if event["metadata"].get("rollback") is None:
            return False
        run = await self._storage.get(CONTAINER, user_id, run_id(event["id"]))
        return run is not None and run.body["startedAt"] is not None

    async def _read(self, user_id: str, ids: Collection[str]) -> dict[str, Stored]:
        """Read documents at once; as mostly it is one or none, without the tasks that gathering makes."""
        reads = [self._storage.get(CONTAINER, user_id, each) for each in ids]
        found = [await each for each in reads] if len(reads) < 2 else await asyncio.gather(*reads)
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
            content, when_busy = draft.metadata.get("content", ""), draft.metadata.get("whenBusy", "enqueue")
            is_continued = draft.type == CONTINUED
            interrupted += turns[conversation].join(draft.id, content, when_busy, continued=is_continued)
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
    bulk_above: int
    changed: Changed = field(default_factory=Changed)

    @property
    def read(self) -> set[str | None]:
        """The ids of what the plan rests on: when one of them was changed, another plan is made."""
        return {*self.others, *(conversation_document_id(name) for name in self.turns)}

    def surplus(self) -> Sequence[Stored]:
        """Give those, of the ones that wait, that are to be interrupted before the others: the last ones.

        What is being answered, in whichever conversation, is interrupted by nothing but the batch itself.
        """
        found = [self.others[each] for each in self.interrupted if each in self.others]
        if len(portion(found)) == len(found):
            return []
        answered = {turns.front_before for turns in self.turns.values()}
        return portion([each for each in reversed(found) if each.body["id"] not in answered])

    def build(self, head: Stored | None) -> list[Operation]:
        """Write the plan as a batch on the head."""
        drafts = self.change.created
        move, seqs = advance(head, self.user_id, ["accepted"] * len(drafts), self._states())
        room = self._room(head)
        created = [
            self._created(draft, cause, seq, bulk=place >= room)
            for place, ((draft, cause), seq) in enumerate(zip(drafts, seqs, strict=True))
        ]
        revived = [
            (self._revived(event, bulk=place >= room), etag)
            for place, (event, etag) in enumerate(self.change.revived, len(drafts))
        ]
        released = [(self._released(self.others[each]), self.others[each].etag) for each in self.released]
        self.changed = Changed(created, [event for event, _ in revived], [event for event, _ in released])
        places = {event["id"]: event["seq"] for event in created}
        return [
            *(documents.replacing(_ended(end), end.etag) for end in self.change.ended),
            *(documents.replacing(event, etag) for event, etag in revived),
            move,
            *(Create(cast("dict[str, Any]", event)) for event in created),
            *(operation for turns in self.turns.values() for operation in turns.operations(places)),
            *(
                documents.replacing(self._interrupted(self.others[each]), self.others[each].etag)
                for each in self.interrupted
            ),
            *(documents.replacing(event, etag) for event, etag in released),
            *self.change.writes,
        ]

    def moved(self) -> Iterator[tuple[str, str, str]]:
        """Give the type of each event whose state the plan changes, with the state before and the new one."""
        yield from ((draft.type, NEW, "accepted") for draft, _ in self.change.created)
        yield from ((end.event["type"], "accepted", end.state) for end in self.change.ended)
        yield from ((event["type"], "dead", "accepted") for event, _ in self.change.revived)
        for each in self.interrupted:
            yield self.others[each].body["type"], "accepted", "cancelled"

    def _states(self) -> Counter[str]:
        states = Counter({"cancelled": len(self.interrupted), "dead": -len(self.change.revived)})
        states.update(end.state for end in self.change.ended)
        states["accepted"] = len(self.change.revived) - len(self.change.ended) - len(self.interrupted)
        return Counter({state: number for state, number in states.items() if number})

    def _room(self, head: Stored | None) -> int:
        """Give the number of events that may begin before their user has many under way."""
        before = 0 if head is None else head.body["counts"].get("accepted", 0)
        over = len(self.change.ended) + len(self.interrupted)
        return self.bulk_above - (before - over)

    def _waits(self, conversation: str | None, event_id: str) -> bool:
        return conversation is not None and self.turns[conversation].front != event_id

    def _created(self, draft: Draft, cause: EventDocument | None, seq: int, *, bulk: bool) -> EventDocument:
        event = documents.new_event(
            draft, self.user_id, seq, now=self.now, sweep_at=self.sweep_at, cause=cause, bulk=bulk
        )
        return documents.held(event) if self._waits(turn_of_draft(draft), draft.id) else event

    def _revived(self, event: EventDocument, *, bulk: bool) -> EventDocument:
        again = documents.revived(event, self.now, self.sweep_at, bulk=bulk)
        return documents.held(again) if self._waits(turn_of(event), event["id"]) else again

    def _released(self, stored: Stored) -> EventDocument:
        return documents.released(documents.as_event(stored), self.now, self.sweep_at)

    def _interrupted(self, stored: Stored) -> EventDocument:
        return documents.ended(documents.as_event(stored), "cancelled", [], INTERRUPTED)


def _ended(end: End) -> EventDocument:
    return documents.ended(end.event, end.state, list(end.outputs), end.error)
