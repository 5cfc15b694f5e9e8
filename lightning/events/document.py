"""An event as the log has it, and before it has a place there."""

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

#: `accepted` until one of the others, which are for good (only a replay accepts a dead event again).
State = Literal["accepted", "done", "dead", "cancelled"]


class Claim(TypedDict):
    """Who works on an event, and until when nobody else may (seconds since 1970)."""

    owner: str
    until: float


class LateResult(TypedDict):
    """What came of an event after it was cancelled: recorded, and without effect."""

    recordedAt: str
    outputs: list[dict[str, Any]]


class Act(TypedDict):
    """What was done to an event from outside: when, and by whom; None is the platform itself."""

    at: str
    act: Literal["cancel", "discard", "replay"]
    by: str | None


class EventDocument(TypedDict):
    """An event as it stands in the log.

    Times that the platform computes with are seconds since 1970; times that
    people read are RFC 3339 strings. ``seq`` is the order of the user's log.
    An event without ``dueAt`` waits for its turn. One that was put off is due ``waitSeconds`` after that was
    written, whatever became of the clock since. ``lookAt`` is when a later message of it is due than the
    one for ``dueAt``, until it is claimed. One that nobody claimed is looked at again at ``sweepAt``, one
    that somebody has at ``reclaimAt``, when the claim has run out. ``attempts`` begins anew when
    there was progress or somebody replays the event; ``claims`` never does. ``despiteCancel`` is worked on
    although its root was cancelled. ``endedAt`` is there once it is over, ``deadAt`` while it
    is dead. ``bulk`` came when its user had
    many others under way: its messages go on a queue behind everybody else's.
    ``acts`` are the latest of what was done to it from outside.
    """

    id: str
    userID: str
    kind: Literal["event"]
    seq: int
    type: str
    source: str
    timestamp: str
    recordedAt: str
    metadata: dict[str, Any]
    root: str
    cause: str | None
    state: State
    wake: int
    attempts: int
    claims: int
    dueAt: float | None
    waitSeconds: NotRequired[float]
    sweepAt: float | None
    reclaimAt: NotRequired[float | None]
    sweeps: int
    claim: Claim | None
    outputs: list[str]
    error: dict[str, str] | None
    trace: dict[str, str]
    conversationID: NotRequired[str]
    webhookID: NotRequired[str]
    scheduleID: NotRequired[str]
    fingerprint: NotRequired[str]
    replayOf: NotRequired[str]
    endedAt: NotRequired[str]
    deadAt: NotRequired[str]
    cancelledAt: NotRequired[str]
    late: NotRequired[LateResult]
    lookAt: NotRequired[float]
    erased: NotRequired[bool]
    despiteCancel: NotRequired[bool]
    bulk: NotRequired[bool]
    acts: NotRequired[list[Act]]


@dataclass(frozen=True, slots=True)
class Draft:
    """An event on its way into the log, before the log gives it a place.

    Parameters:
      id: Its id, new or derived.
      type: One of `TYPES`.
      source: Who speaks, a name for people.
      metadata: As its type says, in the form of JSON.
      timestamp: When it happened, by the one who says so (RFC 3339).
      trace: The W3C trace context it came about in.
      fingerprint: Hash of what a client sent, where a repetition must be known again.
      replay_of: The event that it repeats.
      despite_cancel: It tells that something was cancelled: it is worked on, with all that follows from it,
        although its root is cancelled.
      after_seconds: It is worked on so much later than it is recorded.
      replayed_by: The ``userID`` of whoever has it repeat another.
    """

    id: str
    type: str
    source: str
    metadata: dict[str, Any]
    timestamp: str
    trace: dict[str, str]
    fingerprint: str | None = None
    replay_of: str | None = None
    despite_cancel: bool = False
    after_seconds: float = 0.0
    replayed_by: str | None = None
