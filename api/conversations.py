"""`/api/conversations`: what a person and the platform say to each other."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.conversation_tools import Permissions, ToolShown, properties_of
from api.operation import Operation
from api.requests import authenticated, platform, read_json, respond, whole_number
from api.shown import EventShown
from lightning.domain.conversations import SPOKEN
from lightning.errors import InvalidEvent, InvalidRequest, NotFound, json_pointer
from lightning.events import ConversationID
from lightning.ids import new_id
from lightning.log import public, wakeups
from lightning.log.turns import ConversationDocument
from lightning.storage import Where
from lightning.tasks import Budget

MAX_PAGE = 200

#: The largest ``seq`` that every JSON reader keeps exactly (RFC 8259, section 6).
MAX_PLACE = 2**53

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
SystemPrompt = Annotated[str, StringConstraints(min_length=1, max_length=32_000)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class ConversationChange(Permissions):
    """What may be changed of a conversation; null takes a property away."""

    title: Title | None = None
    systemPrompt: SystemPrompt | None = None  # noqa: N815 -- the wire's name
    model: ModelName | None = None


class NewConversation(ConversationChange):
    """A conversation to be made; without a ``conversationID`` it gets one."""

    conversationID: ConversationID | None = None  # noqa: N815 -- the wire's name


Body = TypeVar("Body", bound=ConversationChange)


class ConversationShown(BaseModel):
    """A conversation; ``waiting`` lists its messages that have no answer yet, the first is being answered."""

    id: str
    title: str
    systemPrompt: str | None  # noqa: N815 -- the wire's name
    model: str | None
    tools: Annotated[list[ToolShown], Field(description="What its model may call.")]
    repo: Annotated[str | None, Field(description="Id of the repository that its tools work on.")]
    network: Annotated[
        Literal["full", "none"], Field(description="What the runs may reach that its model starts.")
    ]
    budget: Annotated[Budget | None, Field(description="What each such run may spend.")]
    createdAt: str  # noqa: N815 -- the wire's name
    updatedAt: str  # noqa: N815 -- the wire's name
    waiting: list[str]


class ConversationsShown(BaseModel):
    """A page of conversations; ``next`` is the ``page`` of the page behind it."""

    conversations: list[ConversationShown]
    next: str | None


class MessagesShown(BaseModel):
    """A page of what was said, newest first; ``next`` is the ``before`` of the page behind it."""

    messages: list[EventShown]
    next: int | None


class PageChoice(BaseModel):
    """Which page of the conversations."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    page: Annotated[str | None, Field(description="The `next` of the page before.")] = None


class MessageChoice(BaseModel):
    """Which of a conversation's messages."""

    before: Annotated[int | None, Field(ge=1, le=MAX_PLACE, description="Only those before this `seq`.")] = (
        None
    )
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50


def shown(conversation: ConversationDocument) -> dict[str, Any]:
    """Give the form in which people see a conversation."""
    return {
        "id": conversation["conversationID"],
        "title": conversation["title"],
        "systemPrompt": conversation.get("systemPrompt"),
        "model": conversation.get("model"),
        "tools": conversation.get("tools", []),
        "repo": conversation.get("repo"),
        "network": conversation.get("network", "none"),
        "budget": conversation.get("budget"),
        "createdAt": conversation["createdAt"],
        "updatedAt": conversation["updatedAt"],
        "waiting": conversation["turns"],
    }


async def list_conversations(request: Request) -> Response:
    """List the caller's conversations, the one that was last spoken in first."""
    claims = await authenticated(request)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    conversations = platform(request).conversations
    try:
        page = await conversations.newest(claims.subject, limit=limit, page=request.query_params.get("page"))
    except ValueError:
        raise InvalidRequest(
            "the parameter page is the next of another page", code="invalid_parameter"
        ) from None
    return respond({"conversations": [shown(each) for each in page.conversations], "next": page.next})


async def create_conversation(request: Request) -> Response:
    """Make a conversation before anybody has spoken in it."""
    claims = await authenticated(request)
    wanted = await _read(request, NewConversation)
    given = await properties_of(request, claims, wanted)
    properties = {
        name: value for name, value in given.items() if name != "conversationID" and value is not None
    }
    conversation = await platform(request).conversations.create(
        claims.subject, wanted.conversationID or new_id(), properties
    )
    location = {"location": f"/api/conversations/{conversation['conversationID']}"}
    return respond(shown(conversation), 201, location if location["location"].isascii() else {})


async def get_conversation(request: Request) -> Response:
    """Show one conversation of the caller's."""
    return respond(shown(await _found(request)))


async def list_messages(request: Request) -> Response:
    """List what was said in a conversation, newest first.

    A page of large messages has fewer than ``limit``: only ``next`` tells whether there are more.
    """
    conversation = await _found(request)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    where = [
        Where("conversationID", "=", conversation["conversationID"]),
        Where("type", "in", SPOKEN),
    ]
    events = await platform(request).log.events(
        conversation["userID"], where, before=before, descending=True, limit=limit
    )
    return respond(
        {
            "messages": [public(event) for event in events],
            "next": events[-1]["seq"] if events.more else None,
        }
    )


async def change_conversation(request: Request) -> Response:
    """Change title, system prompt or model of a conversation, or what its model may do."""
    claims = await authenticated(request)
    found = await _found(request)  # before the body: what is wrong with it is no stranger's business
    change = await _read(request, ConversationChange)
    conversation = await platform(request).conversations.change(
        found["userID"], found["conversationID"], await properties_of(request, claims, change)
    )
    return respond(shown(conversation))


async def delete_conversation(request: Request) -> Response:
    """Have a conversation forgotten: 202 with the event that does it."""
    claims = await authenticated(request)
    parts = platform(request)
    event = await parts.conversations.delete(claims.subject, request.path_params["id"])
    await parts.dispatch.announce(wakeups([event]))
    parts.hub.wake(claims.subject)
    return respond(public(event), 202, {"location": f"/api/events/{event['id']}"})


async def _found(request: Request) -> ConversationDocument:
    claims = await authenticated(request)
    found = await platform(request).conversations.find(claims.subject, request.path_params["id"])
    if found is None:
        raise NotFound("there is no such conversation, or it is not yours")
    return found


async def _read(request: Request, model: type[Body]) -> Body:
    raw = await read_json(request)
    try:
        body = model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        pointer = json_pointer(first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidEvent(message, code="invalid_field", pointer=pointer) from None
    models = platform(request).settings.models
    if body.model is not None and body.model not in models:
        raise InvalidEvent(
            f"the model is not offered here; choose one of {', '.join(models)}",
            code="unknown_model",
            pointer="/model",
        )
    return body


ROUTES = (
    Operation(
        "GET",
        "/api/conversations",
        list_conversations,
        summary="List the caller's conversations, the one that was last spoken in first.",
        scope="conversations:read",
        query=PageChoice,
        answers={200: ConversationsShown},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "POST",
        "/api/conversations",
        create_conversation,
        summary="Make a conversation before anybody has spoken in it.",
        scope="conversations:write",
        body=NewConversation,
        answers={201: ConversationShown},
        problems={409: ("conversation_exists",), 422: ("unknown_model", "unknown_repository")},
    ),
    Operation(
        "GET",
        "/api/conversations/{id}",
        get_conversation,
        summary="Show one conversation of the caller's.",
        scope="conversations:read",
        answers={200: ConversationShown},
    ),
    Operation(
        "PATCH",
        "/api/conversations/{id}",
        change_conversation,
        summary="Change title, system prompt or model of a conversation, or what its model may do.",
        scope="conversations:write",
        body=ConversationChange,
        answers={200: ConversationShown},
        problems={422: ("unknown_model", "unknown_repository")},
    ),
    Operation(
        "DELETE",
        "/api/conversations/{id}",
        delete_conversation,
        summary="Have a conversation forgotten: 202 with the event that does it.",
        scope="conversations:write",
        answers={202: EventShown},
    ),
    Operation(
        "GET",
        "/api/conversations/{id}/messages",
        list_messages,
        summary="List what was said in a conversation, newest first.",
        scope="conversations:read",
        query=MessageChoice,
        answers={200: MessagesShown},
        problems={400: ("invalid_parameter",)},
    ),
)
