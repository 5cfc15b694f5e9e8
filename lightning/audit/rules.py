"""What must hold of one user's log, rule by rule; what is broken is a code of `REMEDIES` and its detail."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeAlias

from lightning.audit.user_log import Conversation, Event, UserLog

#: The first and the last place of some that follow each other.
Stretch: TypeAlias = tuple[int, int]

Broken: TypeAlias = Iterator[tuple[str, str]]

#: Of many places, so many stretches are named.
_NAMED: Final = 5

_OVER: Final = frozenset({"done", "dead", "cancelled"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rules take for possible.

    Parameters:
      now: The present moment in seconds since 1970.
      claim_seconds: No claim is for longer, from now on.
      sweep_seconds: Nothing is looked at later than so long after it is due.
      expired: Whether events that are over may have been removed.
    """

    now: float
    claim_seconds: float
    sweep_seconds: float
    expired: bool


def broken(log: UserLog, bounds: Bounds) -> Broken:
    """Apply all rules."""
    for document, why in log.unreadable.items():
        yield "unreadable", f"document {document}: {why}"
    missing = _missing_places(log)
    yield from _head(log, missing, expired=bounds.expired)
    some_expired = bounds.expired and bool(missing)
    for event in log.events.values():
        yield from _origin(log, event, some_expired=some_expired)
        yield from _outputs(log, event, some_expired=some_expired)
        yield from (_waiting(event, bounds) if event.state == "accepted" else _over(event))
    for delivery in log.deliveries:
        if delivery not in log.events and not some_expired:
            yield "delivery_missing", f"attempts are noted of {delivery}, which is no event"
    yield from _conversations(log)


def _missing_places(log: UserLog) -> list[Stretch]:
    """Find places that no event has, as stretches: a head that is wrong may speak of any number of them."""
    last = _last_place(log)
    taken = sorted({event.seq for event in log.events.values() if 1 <= event.seq <= last})
    bounds = pairwise([0, *taken, last + 1])
    return [(before + 1, after - 1) for before, after in bounds if after - before > 1]


def _last_place(log: UserLog) -> int:
    """Give the last place that was given: the head says it, or else the events."""
    return max((event.seq for event in log.events.values()), default=0) if log.head is None else log.head.seq


def _head(log: UserLog, missing: Sequence[Stretch], *, expired: bool) -> Broken:
    """Each place from 1 to the head's is taken once, and the head counts the events of each state."""
    places = Counter(event.seq for event in log.events.values())
    for place in sorted(place for place, number in places.items() if number > 1):
        ids = ", ".join(event.id for event in log.events.values() if event.seq == place)
        yield "place_twice", f"place {place} is given to {ids}"
    if log.head is None:
        if log.events and "head" not in log.unreadable:
            yield "head_missing", f"there are {len(log.events)} events and no head that counts them"
        return
    head = log.head
    if beyond := sorted(place for place in places if not 1 <= place <= head.seq):
        places_beyond = _named([(place, place) for place in beyond])
        yield "place_beyond_head", f"the head stands at {head.seq}, and there are events at {places_beyond}"
    counted = Counter(event.state for event in log.events.values())
    said = Counter({state: number for state, number in head.counts.items() if number})
    gone = {state: said[state] - counted[state] for state in {*said, *counted}}
    if expired and _may_have_expired(gone, missing):
        return
    if missing:
        yield "place_missing", f"no event stands at {_named(missing)} of 1-{head.seq}"
    if any(gone.values()):
        differing = sorted(state for state, number in gone.items() if number)
        each = ", ".join(f"{said[state]} {state} where there are {counted[state]}" for state in differing)
        yield "counters_differ", f"the head counts {each}"


def _may_have_expired(gone: dict[str, int], missing: Sequence[Stretch]) -> bool:
    """Tell whether all that is missing is counted as over."""
    ended = all(number >= 0 if state in _OVER else number == 0 for state, number in gone.items())
    return ended and sum(gone.values()) == _number(missing)


def _origin(log: UserLog, event: Event, *, some_expired: bool) -> Broken:
    """An event follows from one before it and has its root, or it is a root."""
    if event.cause is None:
        if event.root != event.id:
            yield "root_differs", f"event {event.id} has no cause, and yet the root {event.root}"
        return
    if event.root not in log.events and not some_expired:
        yield "root_missing", f"root {event.root} of event {event.id} is no event"
    cause = log.events.get(event.cause)
    if cause is None:
        if not some_expired:
            yield "cause_missing", f"cause {event.cause} of event {event.id} is no event"
        return
    if cause.root != event.root:
        yield "root_differs", f"event {event.id} has the root {event.root}, its cause {cause.root}"
    if cause.seq >= event.seq:
        yield "cause_later", f"event {event.id} at {event.seq} follows from {cause.id} at {cause.seq}"


def _outputs(log: UserLog, event: Event, *, some_expired: bool) -> Broken:
    """What an event says to have brought about is there, and says the same."""
    for name in event.outputs:
        output = log.events.get(name)
        if output is None:
            if not some_expired:
                yield "output_missing", f"output {name} of event {event.id} is no event"
        elif output.cause != event.id:
            yield "output_of_another", f"output {name} of event {event.id} follows from {output.cause}"


def _over(event: Event) -> Broken:
    """Nobody holds what is over, or looks at it again."""
    if event.looked_at is not None or event.claimed_until is not None:
        yield "not_over", f"event {event.id} is {event.state}, and yet claimed or to be looked at"


def _waiting(event: Event, bounds: Bounds) -> Broken:
    """What is accepted is looked at before long; only a message that waits for its turn is not."""
    until = event.claimed_until
    if until is not None and until > bounds.now + bounds.claim_seconds:
        yield "claim_too_long", f"event {event.id} is claimed for {_hours(until - bounds.now)} more"
    if event.due_at is None:
        if not event.is_chat:
            yield "never_looked_at", f"event {event.id} waits for a turn, and is no message"
        return
    if event.looked_at is None:
        yield "never_looked_at", f"event {event.id} is due, and nothing looks at it again"
    elif until is None and event.looked_at > max(event.due_at, bounds.now) + bounds.sweep_seconds:
        late = _hours(event.looked_at - max(event.due_at, bounds.now))
        yield "looked_at_too_late", f"event {event.id} is looked at {late} after it is due"


def _conversations(log: UserLog) -> Broken:
    """The queue of a conversation holds the messages that are not over, and only the first is not held."""
    queued: set[str] = set()
    last = _last_place(log)
    for conversation in log.conversations:
        name = conversation.conversationID
        if conversation.is_misnamed():
            yield "conversation_misnamed", f"document {conversation.id} is not that of conversation {name}"
        if conversation.seq > last:
            yield "place_beyond_head", f"conversation {name} was last spoken in at {conversation.seq}"
        if len(set(conversation.turns)) < len(conversation.turns):
            yield "turn_twice", f"conversation {name} has a message twice in its queue"
        yield from _turns(log, conversation)
        queued.update(conversation.turns)
    for event in log.events.values():
        if event.is_chat and event.state == "accepted" and event.id not in queued:
            yield "turn_not_queued", f"message {event.id} waits, but not in conversation {event.conversation}"


def _turns(log: UserLog, conversation: Conversation) -> Broken:
    name = conversation.conversationID
    for place, turn in enumerate(conversation.turns):
        event = log.events.get(turn)
        if event is None or event.conversation != name:
            yield "turn_missing", f"{turn} in the queue of conversation {name} is no message of it"
        elif event.state != "accepted":
            yield "turn_over", f"message {turn} in the queue of conversation {name} is {event.state}"
        elif place == 0 and event.due_at is None:
            yield "turn_held", f"message {turn} is the first of conversation {name}, and was not released"
        elif place and event.due_at is not None:
            yield "turn_held", f"message {turn} of conversation {name} was released before its turn"


def _named(stretches: Sequence[Stretch]) -> str:
    """Write places down: 3, 5-9 and so many more."""
    named = ", ".join(
        str(first) if first == last else f"{first}-{last}" for first, last in stretches[:_NAMED]
    )
    more = _number(stretches[_NAMED:])
    return f"{named} and {more} more" if more else named


def _number(stretches: Sequence[Stretch]) -> int:
    return sum(last - first + 1 for first, last in stretches)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours"
