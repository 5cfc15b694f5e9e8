"""One line of the audit trail; its columns are the same for everything that is told."""

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

#: What a line tells of.
Kind = Literal["event", "model_call", "run", "commit", "delivery", "approval", "cancel", "discard", "replay"]


class Record(BaseModel):
    """Something that was caused; what does not apply to its kind is null."""

    model_config = ConfigDict(frozen=True)

    at: Annotated[
        str | None,
        Field(
            description="When (RFC 3339); null where only that it was is known.",
            examples=["2026-01-31T12:00:00.000Z"],
        ),
    ]
    kind: Annotated[Kind, Field(description="What the record tells of.")]
    userID: Annotated[str, Field(description="Whose event.")]  # noqa: N815 -- the wire's name
    eventID: Annotated[  # noqa: N815 -- the wire's name
        str, Field(description="The event that it belongs to.")
    ]
    seq: int
    root: str
    cause: str | None
    conversationID: str | None = None  # noqa: N815 -- the wire's name
    name: Annotated[
        str,
        Field(
            description="The type of an event; the model of a call; the agent or image of a run; the id of "
            "the repository of a commit, or of a delivery's webhook; the tool of an approval.",
            examples=["worker.task"],
        ),
    ]
    id: Annotated[
        str | None,
        Field(description="Of the run, commit or approval; of what a replay repeats.", examples=[None]),
    ] = None
    state: Annotated[
        str | None,
        Field(
            description="Of the event; how a run, delivery or approval stands or ended.", examples=["done"]
        ),
    ] = None
    by: Annotated[
        str | None,
        Field(
            description="What an event calls its source; the `userID` of who decided, cancelled, discarded "
            "or replayed, or `lightning` where the platform did.",
            examples=["web"],
        ),
    ] = None
    number: Annotated[
        int | None,
        Field(
            description="Attempts at an event; which attempt a delivery was; calls of a model.", examples=[1]
        ),
    ] = None
    endedAt: Annotated[str | None, Field(description="When it was over.", examples=[None])] = None  # noqa: N815
    seconds: Annotated[
        float | None,
        Field(
            description="An event: from its recording to its end. A run: of its command. A delivery: until "
            "it was answered."
        ),
    ] = None
    inputTokens: Annotated[  # noqa: N815 -- the wire's name
        int | None, Field(description="Tokens that a model was given.", examples=[None])
    ] = None
    outputTokens: Annotated[  # noqa: N815 -- the wire's name
        int | None, Field(description="Tokens that it wrote.", examples=[None])
    ] = None
    dollars: Annotated[
        float | None,
        Field(description="What they cost, where the operator has named a price.", examples=[None]),
    ] = None
    exitCode: Annotated[int | None, Field(description="Of a run.", examples=[None])] = None  # noqa: N815
    httpStatus: Annotated[  # noqa: N815 -- the wire's name
        int | None, Field(description="That a delivery was answered with.", examples=[None])
    ] = None
    cpu: Annotated[float | None, Field(description="Cores that a run asked for.", examples=[None])] = None
    memoryMiB: Annotated[int | None, Field(description="Memory likewise.", examples=[None])] = None  # noqa: N815
    diskMiB: Annotated[int | None, Field(description="Disk likewise.", examples=[None])] = None  # noqa: N815
    error: Annotated[
        str | None, Field(description="The stable code of what went wrong.", examples=[None])
    ] = None
    detail: Annotated[
        str | None,
        Field(description="More for people; cut off where it is long, and without secrets.", examples=[None]),
    ] = None


#: The columns in their order; further ones are added behind the last, and none is ever renamed.
COLUMNS: Final = tuple(Record.model_fields)
