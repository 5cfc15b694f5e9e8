"""What each type of event says in its ``metadata``; tasks and groups have files of their own."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from lightning.metadata import Metadata, Problem

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
