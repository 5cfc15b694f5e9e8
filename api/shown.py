"""The forms in which people see events."""

from typing import Any, Literal

from pydantic import BaseModel

from api.problems import ProblemDetails

State = Literal["accepted", "done", "dead", "cancelled"]


class ProblemShown(BaseModel):
    """Why an event did not end well."""

    code: str
    message: str


class LateShown(BaseModel):
    """What came of an event after it was cancelled."""

    recordedAt: str  # noqa: N815 -- the wire's name
    outputs: list[dict[str, Any]]


class EventShown(BaseModel):
    """An event as it stands in the log (see `lightning.log.public`)."""

    id: str
    seq: int
    type: str
    source: str
    userID: str  # noqa: N815 -- the wire's name
    timestamp: str
    recordedAt: str  # noqa: N815 -- the wire's name
    metadata: dict[str, Any]
    root: str
    cause: str | None
    state: State
    attempts: int
    outputs: list[str]
    error: ProblemShown | None
    cancelledAt: str | None = None  # noqa: N815 -- the wire's name
    replayOf: str | None = None  # noqa: N815 -- the wire's name
    late: LateShown | None = None
    erased: bool | None = None


class OutputShown(BaseModel):
    """An event that followed from another."""

    id: str
    type: str
    state: State
    metadata: dict[str, Any]


class EventWithOutputs(EventShown):
    """An event with what followed from it."""

    outputs: list[OutputShown]  # pyright: ignore[reportIncompatibleVariableOverride] -- in full here


class EventPage(BaseModel):
    """A page of events; ``next`` is the ``after`` of the page behind it."""

    events: list[EventShown]
    next: int | None


class ItemAccepted(BaseModel):
    """An event of a batch that is recorded."""

    status: Literal[202]
    event: EventShown


class ItemRefused(BaseModel):
    """An event of a batch that is not recorded; the pointer begins with its place in the batch."""

    status: int
    problem: ProblemDetails


class BatchShown(BaseModel):
    """What became of each event of a batch, in the order sent."""

    items: list[ItemAccepted | ItemRefused]
