"""Conversations, and what is to be approved in them."""

from typing import Any, Literal, TypedDict

from lightning.client.shapes.events import Event


class Conversation(TypedDict):
    """A conversation, without its messages; ``waiting`` lists those that have no answer yet."""

    id: str
    title: str
    model: str | None
    systemPrompt: str | None
    tools: list[dict[str, str]]
    repo: str | None
    network: Literal["full", "none"]
    budget: dict[str, Any] | None
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


class Approval(TypedDict):
    """What a model wants to do, exactly, and what its user says to it."""

    id: str
    conversationID: str
    tool: str
    arguments: dict[str, Any]
    scope: dict[str, Any]
    hash: str
    state: Literal["pending", "approved", "refused", "expired", "cancelled"]
    eventID: str
    createdAt: str
    expiresAt: str
    decidedAt: str | None


class ApprovalPage(TypedDict):
    """A page of approvals; ``next`` is the ``page`` behind it."""

    approvals: list[Approval]
    next: str | None
