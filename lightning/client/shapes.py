"""What the platform answers, in the wire's own names."""

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict


class Problem(TypedDict):
    """Why an event did not end well."""

    code: str
    message: str


class _EventFields(TypedDict):
    id: str
    seq: int
    type: str
    source: str
    userID: str
    timestamp: str
    recordedAt: str
    metadata: dict[str, Any]
    root: str
    cause: str | None
    state: Literal["accepted", "done", "dead", "cancelled"]
    attempts: int
    error: Problem | None
    replayOf: NotRequired[str | None]


class Event(_EventFields):
    """An event as it stands in the log."""

    outputs: list[str]


class Output(TypedDict):
    """An event that followed from another."""

    id: str
    type: str
    state: str
    metadata: dict[str, Any]


class EventWithOutputs(_EventFields):
    """An event with what followed from it."""

    outputs: list[Output]


class EventPage(TypedDict):
    """A page of events; ``next`` is the ``after`` (or ``before``) of the page behind it."""

    events: list[Event]
    next: int | None


class Conversation(TypedDict):
    """A conversation, without its messages; ``waiting`` lists those that have no answer yet."""

    id: str
    title: str
    model: str | None
    systemPrompt: str | None
    createdAt: str
    updatedAt: str
    waiting: list[str]


class ConversationPage(TypedDict):
    """A page of conversations; ``next`` is the ``page`` behind it."""

    conversations: list[Conversation]
    next: str | None


class MessagePage(TypedDict):
    """A page of the events of a conversation; ``next`` is the ``before`` of the page behind it."""

    messages: list[Event]
    next: int | None


class Token(TypedDict):
    """An access token (the shape of RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    userID: str
    refresh_token: NotRequired[str]
    refresh_expires_in: NotRequired[int]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer, on its way before the answer is recorded.

    Parameters:
      event: The `llm.chat` that is being answered.
      attempt: The attempt that wrote it; a later one voids what the earlier ones wrote.
      offset: How many characters of the answer come before it.
      text: The piece.
    """

    event: str
    attempt: int
    offset: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A recorded answer.

    Parameters:
      id: Of the `llm.chat.response`.
      content: The text.
      conversation: The conversation's id, to go on in it.
      model: Which model wrote it.
      finish_reason: Why it stopped.
      usage: Tokens, as the model's server counted them.
      event: The `llm.chat` with its outputs, as the platform tells it.
    """

    id: str
    content: str
    conversation: str
    model: str
    finish_reason: str
    usage: dict[str, int] | None
    event: EventWithOutputs
