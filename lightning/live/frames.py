"""What travels from a worker to the ingress, and on to the clients: live frames, and whose log has grown.

Notifications follow Standard Webhooks (webhook-id, webhook-timestamp, webhook-signature),
so the receiver may be our own ``/notify`` or an operator's endpoint at ``NOTIFY_URL``.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError

from lightning.errors import InvalidRequest, Unauthorized

Whole = Annotated[int, Field(ge=0)]


class Delta(BaseModel):
    """The next piece of an answer that is being written; the recorded response supersedes all of them."""

    model_config = ConfigDict(frozen=True)

    event: Annotated[str, Field(description="The `llm.chat` that is being answered.")]
    conversationID: str  # noqa: N815 -- the wire's name
    attempt: Annotated[
        Whole,
        Field(description="Never counted anew: a later one begins at offset 0 and voids the earlier."),
    ]
    offset: Annotated[Whole, Field(description="Unicode code points of the answer before this piece.")]
    text: str


class RunStage(BaseModel):
    """Where a run stands; its end is an event, `worker.task.result`, behind which no frame of it comes."""

    model_config = ConfigDict(frozen=True)

    run: Annotated[str, Field(description="Id of the run.")]
    task: Annotated[str, Field(description="Id of its `worker.task`.")]
    status: Annotated[
        Literal["starting", "running"],
        Field(description="`starting` comes again when a task is replayed."),
    ]


class RunLines(BaseModel):
    """What a run printed next; a gap before its offset is in the log of the run, which has all of it."""

    model_config = ConfigDict(frozen=True)

    run: Annotated[str, Field(description="Id of the run.")]
    task: Annotated[str, Field(description="Id of its `worker.task`.")]
    offset: Annotated[Whole, Field(description="Unicode code points of the log before this piece.")]
    text: str


class RunProgress(BaseModel):
    """How far a run has come, as it says itself; one that comes later supersedes it."""

    model_config = ConfigDict(frozen=True)

    run: Annotated[str, Field(description="Id of the run.")]
    task: Annotated[str, Field(description="Id of its `worker.task`.")]
    at: Annotated[str, Field(description="When it said so (RFC 3339).")]
    message: str
    percent: float | None


#: What a run shows of itself while it goes on.
RunFrame: TypeAlias = RunStage | RunLines | RunProgress

#: What stands in no log, and is shown as it comes.
LiveFrame: TypeAlias = Delta | RunFrame


class Notification(BaseModel):
    """What `/notify` takes, signed.

    Parameters:
      users: Whose logs have grown, and how far.
      deltas: Pieces of answers by user, those of one answer in order.
      stages: Where runs stand, by user.
      progress: How far runs have come, by user.
      lines: What runs have printed, by user, that of one run in order.
      session: With it the receiver reads at least what the sender had read and written of these logs.
    """

    type: Literal["frames"]
    users: dict[str, int] = {}
    deltas: dict[str, list[Delta]] = {}
    stages: dict[str, list[RunStage]] = {}
    progress: dict[str, list[RunProgress]] = {}
    lines: dict[str, list[RunLines]] = {}
    session: Annotated[
        str | None, Field(description="The session token of the sender's store, where that has such.")
    ] = None


def run_frames(told: Notification) -> dict[str, list[RunFrame]]:
    """Give what a notification says of runs, by user: where one stands before what it printed."""
    found: dict[str, list[RunFrame]] = {}
    for by_user in (told.stages, told.lines, told.progress):
        for user_id, frames in by_user.items():
            found.setdefault(user_id, []).extend(frames)
    return found


def read_notification(secret: str, headers: Mapping[str, str], body: bytes) -> Notification:
    """Check a notification and read it.

    Parameters:
      secret: The Standard Webhooks secret.
      headers: The request's headers.
      body: The request's body, as it came.

    Raises:
      Unauthorized: The signature is not ours, or older than five minutes.
      InvalidRequest: It is ours and still not a notification.
    """
    try:
        Webhook(secret).verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError):  # the library lets some malformed headers through
        raise Unauthorized("the signature does not fit", code="signature_refused") from None
    try:
        return Notification.model_validate_json(body)
    except ValidationError:
        raise InvalidRequest(
            "the body is not a notification with users and deltas", code="not_a_notification"
        ) from None
