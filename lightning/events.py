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


class _Metadata(BaseModel):
    """Base of all metadata: unknown fields are mistakes, and types are not guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(_Metadata):
    """Why something did not work, in words that are safe to show."""

    code: str
    message: str


class Usage(_Metadata):
    """Tokens of one model call, as the model's server counted them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatMetadata(_Metadata):
    """A person speaks in a conversation; without ``conversationID`` a new one begins."""

    content: Annotated[str, StringConstraints(min_length=1)]
    conversationID: ConversationID | None = None  # noqa: N815 -- the wire's name
    #: What becomes of it while another message of the conversation is answered.
    whenBusy: Literal["enqueue", "reject", "interrupt"] | None = None  # noqa: N815 -- the wire's name


class ChatResponseMetadata(_Metadata):
    """The answer to an `llm.chat`; with ``error`` instead of an answer when there is none."""

    content: str
    conversationID: str  # noqa: N815 -- the wire's name
    model: str
    usage: Usage | None = None
    finishReason: str  # noqa: N815 -- the wire's name
    error: Problem | None = None


class ConversationDeletedMetadata(_Metadata):
    """A conversation is to be forgotten: what was said in it, then the conversation itself.

    ``createdAt`` tells it from another of that name that was made afterwards.
    """

    conversationID: str  # noqa: N815 -- the wire's name
    createdAt: str  # noqa: N815 -- the wire's name


class UserMessageMetadata(_Metadata):
    """Something to tell the user; ``to`` names the webhooks that get it, and no other does."""

    content: Annotated[str, StringConstraints(min_length=1)]
    to: Annotated[list[Name], Field(min_length=1, max_length=20)] | None = None


class WebhookDeliveryMetadata(_Metadata):
    """One message to one endpoint: the event ``eventID``, or a test without it."""

    webhookID: str  # noqa: N815 -- the wire's name
    eventID: str | None = None  # noqa: N815 -- the wire's name
    redeliveryOf: str | None = None  # noqa: N815 -- the wire's name


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event.

    Parameters:
      metadata: The class that types its ``metadata``.
      actor: The actor that works on it; its queue has the same name.
      posted_by_users: Whether it may come over HTTP; others are the platform's own.
    """

    metadata: type[_Metadata]
    actor: str
    posted_by_users: bool = False


TYPES: Mapping[str, EventType] = {
    "llm.chat": EventType(ChatMetadata, actor="chat", posted_by_users=True),
    "llm.chat.response": EventType(ChatResponseMetadata, actor="messenger"),
    "conversation.deleted": EventType(ConversationDeletedMetadata, actor="eraser"),
    "user.message": EventType(UserMessageMetadata, actor="messenger", posted_by_users=True),
    "webhook.delivery": EventType(WebhookDeliveryMetadata, actor="webhook"),
}


#: RFC 3339, section 5.6; the zone is checked apart, to name it in the answer.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def _timestamp(value: object) -> datetime:
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
    timestamp: Annotated[datetime, BeforeValidator(_timestamp)]
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


class EventDocument(TypedDict):
    """An event as it stands in the log.

    Times that the platform computes with are seconds since 1970; times that
    people read are RFC 3339 strings. ``seq`` is the order of the user's log.
    An event without ``dueAt`` waits for its turn.
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
    dueAt: float | None
    sweepAt: float | None
    sweeps: int
    claim: Claim | None
    outputs: list[str]
    error: dict[str, str] | None
    trace: dict[str, str]
    conversationID: NotRequired[str]
    webhookID: NotRequired[str]
    fingerprint: NotRequired[str]
    replayOf: NotRequired[str]
    cancelledAt: NotRequired[str]
    late: NotRequired[LateResult]
    erased: NotRequired[bool]


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
    """

    id: str
    type: str
    source: str
    metadata: dict[str, Any]
    timestamp: str
    trace: dict[str, str]
    fingerprint: str | None = None
    replay_of: str | None = None


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
    kind = TYPES.get(envelope.type)
    if kind is None:
        known = ", ".join(name for name, each in TYPES.items() if each.posted_by_users)
        raise InvalidEvent(f"unknown type; known are {known}", code="unknown_type", pointer="/type")
    if not kind.posted_by_users:
        raise Forbidden(
            f"events of type {envelope.type} come from the platform only",
            code="platform_event",
            pointer="/type",
        )
    try:
        metadata = kind.metadata.model_validate(envelope.metadata)
    except ValidationError as error:
        raise _invalid(error, "/metadata") from None
    envelope.metadata = metadata.model_dump(mode="json", exclude_none=True)
    return envelope


def _invalid(error: ValidationError, prefix: str) -> InvalidEvent:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    pointer = prefix + json_pointer(first["loc"])
    return InvalidEvent(first["msg"].removeprefix("Value error, "), code="invalid_field", pointer=pointer)


def now_text() -> str:
    """Give the present moment as RFC 3339 text in UTC."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
