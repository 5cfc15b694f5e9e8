"""The frames of `/api/ws`: JSON texts, each an object with its ``type``."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.approvals import ApprovalShown, Decision
from api.shown import EventShown
from lightning.live import Delta, RunLines, RunProgress, RunStage

#: A client's own word for a frame, which the answer repeats.
Ref = Annotated[str, Field(max_length=256)]


class PostedFrame(BaseModel):
    """From the client: an event, as for `POST /api/events`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Literal["event"]
    event: Any
    ref: Ref | None = None
    idempotencyKey: str | None = None  # noqa: N815 -- the wire's name


class DecisionFrame(Decision):
    """From the client: a decision on what a model wants to do, as for `POST /api/approvals/{id}`."""

    type: Literal["decision"]
    approvalID: Annotated[str, Field(max_length=256)]  # noqa: N815 -- the wire's name
    ref: Ref | None = None


class DecidedFrame(BaseModel):
    """A decision was recorded; ``ref`` is that of its frame."""

    type: Literal["decided"]
    ref: str | None
    approval: ApprovalShown


class EventFrame(BaseModel):
    """An event of the log, in order and once."""

    type: Literal["event"]
    event: EventShown


class DeltaFrame(Delta):
    """The next piece of an answer that is being written."""

    type: Literal["delta"]


class RunStageFrame(RunStage):
    """A run is starting, or running."""

    type: Literal["run"]


class RunLinesFrame(RunLines):
    """What a run printed next."""

    type: Literal["log"]


class ProgressFrame(RunProgress):
    """How far a run has come, as it says itself."""

    type: Literal["progress"]


class HeartbeatFrame(BaseModel):
    """Nothing happened for a while, and the connection lives."""

    type: Literal["heartbeat"]


class AcceptedFrame(BaseModel):
    """The client's event is recorded durably."""

    type: Literal["accepted"]
    ref: str | None
    event: EventShown


class ProblemFrame(BaseModel):
    """The client's frame was refused, with what `POST /api/events` would answer (RFC 9457)."""

    type: Literal["problem"]
    ref: str | None
    problem: dict[str, Any]
