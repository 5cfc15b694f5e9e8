"""The forms in which people see events."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.problems import ProblemDetails

#: Says in the schema of an event that its type decides what its metadata holds (`api.schemas`).
TYPED_METADATA = ConfigDict(json_schema_extra={"allOf": [{"$ref": "#/components/schemas/MetadataByType"}]})

State = Literal["accepted", "done", "dead", "cancelled"]

_Type = Annotated[str, Field(examples=["user.message"])]
_Metadata = Annotated[dict[str, Any], Field(examples=[{"content": "The report is ready."}])]


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

    model_config = TYPED_METADATA

    id: str
    seq: int
    type: _Type
    source: str
    userID: str  # noqa: N815 -- the wire's name
    timestamp: str
    recordedAt: str  # noqa: N815 -- the wire's name
    metadata: _Metadata
    root: str
    cause: Annotated[str | None, Field(examples=[None])]
    state: State
    attempts: int
    outputs: Annotated[list[str], Field(examples=[[]])]
    error: Annotated[ProblemShown | None, Field(examples=[None])]
    endedAt: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="When it was over (RFC 3339).", examples=[None])
    ] = None
    cancelledAt: str | None = None  # noqa: N815 -- the wire's name
    replayOf: str | None = None  # noqa: N815 -- the wire's name
    late: LateShown | None = None
    erased: bool | None = None


class OutputShown(BaseModel):
    """An event that followed from another."""

    model_config = TYPED_METADATA

    id: str
    type: _Type
    state: State
    metadata: _Metadata


class EventWithOutputs(EventShown):
    """An event with what followed from it."""

    outputs: list[OutputShown]  # pyright: ignore[reportIncompatibleVariableOverride] -- in full here


class EventPage(BaseModel):
    """A page of events; ``next`` is the ``after`` of the page behind it."""

    events: list[EventShown]
    next: Annotated[int | None, Field(examples=[None])]


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
