"""What an event is: its envelope, its types, and its form in the log.

A new event type is one metadata class here and one line in `TYPES`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from lightning.errors import Forbidden, InvalidEvent, json_pointer
from lightning.groups import GroupMetadata, GroupResultMetadata
from lightning.metadata import Metadata, Problem
from lightning.tasks import FollowUp, TaskMetadata, TaskResultMetadata

#: A client's clock may run this far ahead of ours before its event counts as one of the future.
CLOCK_SKEW = timedelta(seconds=5)

#: `accepted` until one of the others, which are for good (only a replay accepts a dead event again).
State = Literal["accepted", "done", "dead", "cancelled"]

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _path_segment(text: str) -> str:
    if text in {".", ".."} or any(character == "/" or not character.isprintable() for character in text):
        raise ValueError("it stands in addresses: no slash, no control character, and not only dots")
    return text


#: What a client calls a conversation.
ConversationID = Annotated[
    str, StringConstraints(min_length=1, max_length=256), AfterValidator(_path_segment)
]


class Usage(Metadata):
    """Tokens of one model call, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMetadata(Metadata):
    """A person speaks in a conversation; without ``conversationID`` a new one begins."""

    content: Annotated[str, StringConstraints(min_length=1)]
    conversationID: ConversationID | None = None  # noqa: N815 -- the wire's name
    #: What becomes of it while another message of the conversation is answered.
    whenBusy: Literal["enqueue", "reject", "interrupt"] | None = None  # noqa: N815 -- the wire's name


class Awaited(Metadata):
    """A call of a tool that has no result yet: a run is under way, or a person is asked."""

    call: Annotated[str, Field(description="The tool.", examples=["run_agent"])]
    eventID: Annotated[  # noqa: N815 -- the wire's name
        str, Field(description="The event whose answer it waits for.")
    ]
    approvalID: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="The approval that it waits for.")
    ] = None


class ChatResponseMetadata(Metadata):
    """The answer to an `llm.chat`; with ``error`` instead of an answer when there is none.

    With ``waitsFor`` it is not the last word: another answer follows when what is waited for has come.
    """

    content: str
    conversationID: str  # noqa: N815 -- the wire's name
    model: str
    usage: Usage | None = None
    finishReason: str  # noqa: N815 -- the wire's name
    error: Problem | None = None
    attempt: Annotated[
        int | None,
        Field(description="It supersedes the deltas of attempts up to this one."),
    ] = None
    waitsFor: Annotated[  # noqa: N815 -- the wire's name
        list[Awaited] | None, Field(description="What the model goes on after, with another answer.")
    ] = None


class ChatContinuedMetadata(Metadata):
    """What a turn waited for has come: the model goes on."""

    conversationID: str  # noqa: N815 -- the wire's name
    turnID: Annotated[  # noqa: N815 -- the wire's name
        str, Field(description="The `llm.chat` that the turn began with.")
    ]


class ConversationDeletedMetadata(Metadata):
    """A conversation is to be forgotten: what was said in it, then the conversation itself.

    ``createdAt`` tells it from another of that name that was made afterwards.
    """

    conversationID: str  # noqa: N815 -- the wire's name
    createdAt: str  # noqa: N815 -- the wire's name


class UserMessageMetadata(Metadata):
    """Something to tell the user; ``to`` names the webhooks that get it, and no other does."""

    content: Annotated[str, StringConstraints(min_length=1)]
    to: Annotated[list[Name], Field(min_length=1, max_length=20)] | None = None
    runID: Annotated[  # noqa: N815 -- the wire's name
        Name | None, Field(description="The run that asks; `POST /api/runs/{id}/messages` answers it.")
    ] = None
    questionID: Annotated[  # noqa: N815 -- the wire's name
        Name | None, Field(description="Its question, for the answer to name.")
    ] = None


class ApprovalRequestedMetadata(Metadata):
    """A model wants to do something that its user has to agree to: exactly this."""

    approvalID: Annotated[  # noqa: N815 -- the wire's name
        str, Field(description="For `POST /api/approvals/{id}`.")
    ]
    conversationID: str  # noqa: N815 -- the wire's name
    tool: Annotated[str, Field(description="What it wants to call.")]
    arguments: Annotated[dict[str, Any], Field(description="With what.")]
    hash: Annotated[str, Field(description="SHA-256 of the action, for the decision to name.")]
    expiresAt: Annotated[str, Field(description="Undecided, it is refused then.")]  # noqa: N815 -- the wire's


class ApprovalDecidedMetadata(Metadata):
    """A person has decided on an action."""

    approvalID: str  # noqa: N815 -- the wire's name
    decision: Literal["approved", "refused"]


class ApprovalExpiryMetadata(Metadata):
    """An approval that nobody has decided by now is refused."""

    approvalID: str  # noqa: N815 -- the wire's name


class WebhookDeliveryMetadata(Metadata):
    """One message to one endpoint: the event ``eventID``, or a test without it."""

    webhookID: str  # noqa: N815 -- the wire's name
    eventID: str | None = None  # noqa: N815 -- the wire's name
    redeliveryOf: str | None = None  # noqa: N815 -- the wire's name


#: What becomes of a slot of a schedule while the event of the one before it is not over.
Overlap = Literal["skip", "queue", "allow", "cancel-previous"]


class ScheduleTickMetadata(Metadata):
    """A slot of a schedule has come; ``revision`` tells which of its plans named it."""

    scheduleID: str  # noqa: N815 -- the wire's name
    slot: Annotated[str, Field(description="Its name: what the wall clock shows then.")]
    plannedAt: str  # noqa: N815 -- the wire's name
    revision: int
    reason: Literal["due", "missed", "now", "backfill"]
    overlap: Annotated[
        Overlap | None, Field(description="What holds for this slot, instead of what the schedule says.")
    ] = None


class ScheduleBackfillMetadata(Metadata):
    """The slots of a schedule between two moments are to fire, whether or not they did before."""

    scheduleID: str  # noqa: N815 -- the wire's name
    startAt: str  # noqa: N815 -- the wire's name
    endAt: str  # noqa: N815 -- the wire's name
    overlap: Overlap


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event.

    Parameters:
      metadata: The class that types its ``metadata``.
      actor: The actor that works on it; its queue has the same name.
      posted_by_users: Whether it may come over HTTP; others are the platform's own.
      scope: What a service token must allow to bring such an event about, by whatever route.
      answers: The field of its metadata that names the event that it answers: a call of a tool that waits for
        that event has its result by this one.
    """

    metadata: type[Metadata]
    actor: str
    posted_by_users: bool = False
    scope: str = "events:write"
    answers: str | None = None


TYPES: Mapping[str, EventType] = {
    "llm.chat": EventType(ChatMetadata, actor="chat", posted_by_users=True),
    "llm.chat.continued": EventType(ChatContinuedMetadata, actor="chat"),
    "llm.chat.response": EventType(ChatResponseMetadata, actor="messenger"),
    "approval.requested": EventType(ApprovalRequestedMetadata, actor="messenger"),
    "approval.decided": EventType(ApprovalDecidedMetadata, actor="chat", scope="approvals:write"),
    "approval.expiry": EventType(ApprovalExpiryMetadata, actor="chat"),
    "conversation.deleted": EventType(
        ConversationDeletedMetadata, actor="eraser", scope="conversations:write"
    ),
    "user.message": EventType(UserMessageMetadata, actor="messenger", posted_by_users=True),
    "worker.task": EventType(TaskMetadata, actor="task_runner", posted_by_users=True),
    "worker.task.result": EventType(TaskResultMetadata, actor="messenger", answers="taskID"),
    "worker.group": EventType(GroupMetadata, actor="task_group", posted_by_users=True),
    "worker.group.result": EventType(GroupResultMetadata, actor="messenger", answers="groupID"),
    "webhook.delivery": EventType(WebhookDeliveryMetadata, actor="webhook", scope="webhooks:write"),
    "schedule.tick": EventType(ScheduleTickMetadata, actor="schedule_tick", scope="schedules:write"),
    "schedule.backfill": EventType(ScheduleBackfillMetadata, actor="schedule_tick", scope="schedules:write"),
}


#: RFC 3339, section 5.6; the zone is checked apart, to name it in the answer.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def read_moment(value: object) -> datetime:
    """Read RFC 3339 text as a moment in UTC.

    Raises:
      ValueError: It is none, has no zone, or is beyond the calendar.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("the timestamp is not RFC 3339 text, such as 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(value.upper())
    if moment.tzinfo is None:
        raise ValueError("the timestamp has no zone; add Z or an offset such as +02:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the timestamp is beyond the calendar in UTC") from None


class Envelope(BaseModel):
    """An event as it is posted (specification, "Event Management")."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: Annotated[
        Name | None, Field(description="A key of your own: the same event under it again is no new one.")
    ] = None
    timestamp: Annotated[datetime, BeforeValidator(read_moment)]
    source: Name
    type: Name
    userID: Name  # noqa: N815 -- the wire's name
    metadata: dict[str, Any] = Field(default_factory=dict)


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


def read_envelope(raw: object, *, now: datetime | None = None) -> Envelope:
    """Check what was posted, envelope and metadata.

    Parameters:
      raw: The JSON value.
      now: The present moment, for events of the future; the clock's by default.

    Returns:
      The envelope, its metadata in normal form.

    Raises:
      InvalidEvent: With a JSON pointer to the first field that is wrong.
      Forbidden: Only the platform posts events of this type.
    """
    try:
        envelope = Envelope.model_validate(raw)
    except ValidationError as error:
        raise _invalid(error, "") from None
    if envelope.timestamp > (now or datetime.now(UTC)) + CLOCK_SKEW:
        raise InvalidEvent(
            "the timestamp is in the future; POST /api/schedule takes events for later",
            code="timestamp_in_future",
            pointer="/timestamp",
        )
    envelope.metadata = _read_metadata(envelope.type, envelope.metadata, "")
    return envelope


def _read_metadata(name: str, raw: dict[str, Any], where: str) -> dict[str, Any]:
    """Check the metadata of a type that users may post, with all that may follow from it.

    Parameters:
      name: The type.
      raw: The metadata.
      where: JSON pointer to what holds both.

    Returns:
      The metadata in normal form.
    """
    kind = TYPES.get(name)
    if kind is None:
        known = ", ".join(name for name, each in TYPES.items() if each.posted_by_users)
        raise InvalidEvent(f"unknown type; known are {known}", code="unknown_type", pointer=f"{where}/type")
    if not kind.posted_by_users:
        message = f"events of type {name} come from the platform only"
        raise Forbidden(message, code="platform_event", pointer=f"{where}/type")
    try:
        metadata = kind.metadata.model_validate(raw)
    except ValidationError as error:
        raise _invalid(error, f"{where}/metadata") from None
    return normal_form(metadata, f"{where}/metadata")


def normal_form(metadata: Metadata, where: str) -> dict[str, Any]:
    """Check what may follow from an event, and give its metadata as it is recorded.

    Parameters:
      metadata: The metadata.
      where: JSON pointer to it.

    Raises:
      InvalidEvent: With a pointer to the first field that is wrong.
      Forbidden: Something is to follow that comes from the platform only.
    """
    if isinstance(metadata, TaskMetadata):
        _read_what_follows(metadata, where)
    elif isinstance(metadata, GroupMetadata):
        _read_follow_ups(metadata, where)
        for place, task in enumerate(metadata.tasks):
            _read_what_follows(task, f"{where}/tasks/{place}")
    return metadata.model_dump(mode="json", exclude_none=True)


def _read_what_follows(task: TaskMetadata, where: str) -> None:
    """Check what may follow from a task; the bounds of a posted event's depth and size hold for all of it."""
    _read_follow_ups(task, where)
    if task.rollback is not None:
        if task.rollback.get("rollback") is not None:
            raise InvalidEvent(
                "a rollback has no rollback", code="invalid_field", pointer=f"{where}/rollback/rollback"
            )
        try:
            rollback = TaskMetadata.model_validate(task.rollback)
        except ValidationError as error:
            raise _invalid(error, f"{where}/rollback") from None
        _read_what_follows(rollback, f"{where}/rollback")
        task.rollback = rollback.model_dump(mode="json", exclude_none=True)


def _read_follow_ups(of: TaskMetadata | GroupMetadata, where: str) -> None:
    for name, follow_ups in (("onSuccess", of.onSuccess), ("onFailure", of.onFailure)):
        for number, each in enumerate(follow_ups):
            each.metadata = _read_follow_up(each, f"{where}/{name}/{number}")


def _read_follow_up(follow_up: FollowUp, where: str) -> dict[str, Any]:
    metadata = _read_metadata(follow_up.type, follow_up.metadata, where)
    if metadata.get("whenBusy", "enqueue") != "enqueue":
        message = "what follows from a task waits for its turn in a conversation; leave whenBusy out"
        raise InvalidEvent(message, code="invalid_field", pointer=f"{where}/metadata/whenBusy")
    return metadata


def _invalid(error: ValidationError, prefix: str) -> InvalidEvent:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    pointer = prefix + json_pointer(first["loc"])
    return InvalidEvent(first["msg"].removeprefix("Value error, "), code="invalid_field", pointer=pointer)


def now_text() -> str:
    """Give the present moment as RFC 3339 text in UTC."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """Give a moment as RFC 3339 text in UTC, to the millisecond: texts are in the order of their moments."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
