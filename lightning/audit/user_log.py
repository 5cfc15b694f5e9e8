"""What the rules look at of one user's log: little of each event, so that a long log fits into memory."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lightning.domain.deliveries import KIND as ATTEMPTS
from lightning.events import State
from lightning.ids import conversation_document_id
from lightning.log.turns import TURN_TYPES
from lightning.storage import Stored


class _Shape(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


class Head(_Shape):
    """The head, as `lightning.log.head` writes it."""

    seq: int = 0
    counts: dict[str, int]


class Conversation(_Shape):
    """What a conversation says of its turns."""

    id: str
    conversationID: str  # noqa: N815 -- the document's name
    seq: int
    turns: list[str]

    def is_misnamed(self) -> bool:
        """Tell whether nobody finds the document under the name of the conversation."""
        return self.id != conversation_document_id(self.conversationID)


class _Claim(_Shape):
    until: float


class _Event(_Shape):
    id: str
    seq: int
    type: str
    state: State
    root: str
    cause: str | None
    outputs: list[str]
    wake: int
    attempts: int
    dueAt: float | None  # noqa: N815 -- the document's name
    sweepAt: float | None  # noqa: N815 -- the document's name
    reclaimAt: float | None = None  # noqa: N815 -- the document's name
    claim: _Claim | None
    conversationID: str | None = None  # noqa: N815 -- the document's name


@dataclass(frozen=True, slots=True)
class Event:
    """What the rules look at of an event; times are seconds since 1970.

    ``looked_at`` is when the sweep finds it, claimed or not; None is never.
    """

    id: str
    seq: int
    is_chat: bool
    state: State
    root: str
    cause: str | None
    outputs: tuple[str, ...]
    due_at: float | None
    looked_at: float | None
    claimed_until: float | None
    conversation: str | None


@dataclass(slots=True)
class UserLog:
    """A user's documents in the container of events.

    Parameters:
      user_id: Whose.
      head: The head, if there is one that can be read.
      events: The events by id.
      conversations: The conversations.
      deliveries: Ids of the deliveries of which attempts are noted.
      unreadable: Ids of documents that are not what their kind says, and why.
    """

    user_id: str
    head: Head | None = None
    events: dict[str, Event] = field(default_factory=dict[str, Event])
    conversations: list[Conversation] = field(default_factory=list[Conversation])
    deliveries: list[str] = field(default_factory=list[str])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])

    def add(self, documents: Iterable[Stored]) -> None:
        """Take in documents."""
        for stored in documents:
            try:
                self._add(stored.body)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False, include_context=False)[0]
                where = ".".join(map(str, first["loc"]))
                self.unreadable[stored.body["id"]] = f"{where}: {first['msg']}"

    def _add(self, body: dict[str, Any]) -> None:
        match body.get("kind"):
            case "event":
                event = _Event.model_validate(body)
                self.events[event.id] = _compact(event)
            case "head":
                self.head = Head.model_validate(body)
            case "conversation":
                self.conversations.append(Conversation.model_validate(body))
            case kind if kind == ATTEMPTS:
                self.deliveries.append(body["id"].removeprefix("attempts-"))
            case _:
                pass


def _compact(event: _Event) -> Event:
    is_chat = event.type in TURN_TYPES
    return Event(
        id=event.id,
        seq=event.seq,
        is_chat=is_chat,
        state=event.state,
        root=event.root,
        cause=event.cause,
        outputs=tuple(event.outputs),
        due_at=event.dueAt,
        looked_at=min((at for at in (event.sweepAt, event.reclaimAt) if at is not None), default=None),
        claimed_until=None if event.claim is None else event.claim.until,
        # as `lightning.log.turns` has it: a message that names none begins the one of its own id
        conversation=(event.conversationID or event.id) if is_chat else None,
    )
