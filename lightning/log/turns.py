"""Turns of a conversation: its messages wait for each other in a queue of one document.

The document stands in the user's partition beside the events, so that a message joins the queue, and leaves
it, in the very batch by which it is accepted or ends. Only the first in the queue is announced to workers.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal, NotRequired, TypedDict, cast

from lightning.errors import Conflict
from lightning.events import Draft, EventDocument, now_text
from lightning.ids import conversation_document_id
from lightning.storage import Create, Operation, Replace, Stored

#: Messages that may wait in one conversation; one that interrupts them all needs an operation for each.
MAX_TURNS = 50

#: Turns that go on when results have come wait besides: nobody could send them again.
MAX_CONTINUED = 20

MAX_TITLE_CHARS = 80

#: The type of what lets a turn go on.
CONTINUED: Final = "llm.chat.continued"

#: What becomes of a message that comes while another is answered.
WhenBusy = Literal["enqueue", "reject", "interrupt"]


#: The events that are turns of a conversation: what a person says, and what goes on when results have come.
TURN_TYPES: Final = frozenset({"llm.chat", CONTINUED})


class ToolGrant(TypedDict):
    """A tool that the model of a conversation may call, and when a person must agree."""

    name: str
    approval: Literal["never", "first", "always"]


class ConversationDocument(TypedDict):
    """A conversation as it stands in the store.

    ``seq`` is that of its latest message, so conversations are listed by when they were last spoken in.
    ``turns`` holds the ids of the messages that are not over, in their order; the first is being answered.
    ``tools``, ``repo``, ``network`` and ``budget`` are what its user lets the model do;
    ``approvedTools`` names those that the user has agreed to before.
    """

    id: str
    userID: str
    kind: Literal["conversation"]
    conversationID: str
    seq: int
    title: str
    turns: list[str]
    createdAt: str
    updatedAt: str
    systemPrompt: NotRequired[str]
    model: NotRequired[str]
    tools: NotRequired[list[ToolGrant]]
    repo: NotRequired[str]
    network: NotRequired[Literal["full", "none"]]
    budget: NotRequired[dict[str, Any]]
    approvedTools: NotRequired[list[str]]
    deleted: NotRequired[bool]


def new_conversation(
    user_id: str, conversation_id: str, *, seq: int = 0, title: str = ""
) -> ConversationDocument:
    """Make a conversation in which nobody has spoken."""
    now = now_text()
    return {
        "id": conversation_document_id(conversation_id),
        "userID": user_id,
        "kind": "conversation",
        "conversationID": conversation_id,
        "seq": seq,
        "title": title,
        "turns": [],
        "createdAt": now,
        "updatedAt": now,
    }


def as_conversation(stored: Stored) -> ConversationDocument:
    """Read a stored document as the conversation that it is."""
    return cast("ConversationDocument", stored.body)


def turn_of(event: EventDocument) -> str | None:
    """Give the conversation in which an event is a turn; None when it is none."""
    return event.get("conversationID", event["id"]) if event["type"] in TURN_TYPES else None


def turn_of_draft(draft: Draft) -> str | None:
    """Give the conversation in which a draft will be a turn; None when it will be none."""
    if draft.type not in TURN_TYPES:
        return None
    return draft.metadata.get("conversationID") or draft.id


def title_of(content: str) -> str:
    """Make a title of what was said first."""
    line = " ".join(content.split())
    return line if len(line) <= MAX_TITLE_CHARS else line[: MAX_TITLE_CHARS - 1] + "…"


@dataclass
class Turns:
    """The queue of one conversation while a change is put together.

    Parameters:
      user_id: Whose conversation.
      conversation_id: Which.
      stored: Its document as it was read.
    """

    user_id: str
    conversation_id: str
    stored: Stored | None
    queue: list[str] = field(init=False)
    title: str = field(init=False, default="")
    spoken: str | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.queue = [] if self.stored is None else list(as_conversation(self.stored)["turns"])

    @property
    def front(self) -> str | None:
        """The message that is being answered after the change."""
        return self.queue[0] if self.queue else None

    @property
    def front_before(self) -> str | None:
        """The message that was being answered before the change."""
        turns = [] if self.stored is None else as_conversation(self.stored)["turns"]
        return turns[0] if turns else None

    def join(self, event_id: str, content: str, when_busy: WhenBusy, *, continued: bool = False) -> list[str]:
        """Put a message at the end of the queue.

        Parameters:
          event_id: The message.
          content: What it says.
          when_busy: What becomes of it, and of others, where others wait.
          continued: Whether it lets a turn go on that was there before.

        Returns:
          The messages that it interrupts: they leave the queue.

        Raises:
          Conflict: The conversation is busy and the message would not wait (``conversation_busy``), too many
            wait already (``conversation_full``), or it is being deleted (``conversation_deleted``).
        """
        if self.stored is not None and self.stored.body.get("deleted"):
            raise Conflict(
                "the conversation is deleted; begin another", code="conversation_deleted",
                pointer="/metadata/conversationID",
            )  # fmt: skip
        if self.queue and when_busy == "reject":
            raise Conflict(
                "a message of this conversation is being answered; wait, or let it enqueue or interrupt",
                code="conversation_busy",
                pointer="/metadata/whenBusy",
            )
        interrupted = self.queue if when_busy == "interrupt" else []
        self.queue = self.queue[len(interrupted) :]
        if len(self.queue) >= MAX_TURNS + (MAX_CONTINUED if continued else 0):
            raise Conflict(
                f"{MAX_TURNS} messages of this conversation wait already; wait for their answers",
                code="conversation_full",
                pointer="/metadata/conversationID",
            )
        self.queue.append(event_id)
        self.title, self.spoken = title_of(content), event_id
        return interrupted

    def leave(self, event_id: str) -> None:
        """Take a message out of the queue, wherever it stands."""
        if event_id in self.queue:
            self.queue.remove(event_id)

    def operations(self, places: dict[str, int]) -> list[Operation]:
        """Write the queue down.

        Parameters:
          places: The ``seq`` of each event that the change creates.
        """
        before = None if self.stored is None else as_conversation(self.stored)
        if self.queue == ([] if before is None else before["turns"]):
            return []
        document = before or new_conversation(self.user_id, self.conversation_id)
        document = {
            **document,
            "turns": self.queue,
            "updatedAt": now_text(),
            "title": document["title"] or self.title,
            "seq": places.get(self.spoken or "", document["seq"]),
        }
        body = cast("dict[str, Any]", document)
        return [Create(body) if self.stored is None else Replace(body, self.stored.etag)]
