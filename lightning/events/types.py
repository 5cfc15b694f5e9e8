"""The types of events, and who works on each."""

from collections.abc import Mapping
from dataclasses import dataclass

from lightning.events.metadata import (
    ApprovalDecidedMetadata,
    ApprovalExpiryMetadata,
    ApprovalRequestedMetadata,
    ChatContinuedMetadata,
    ChatMetadata,
    ChatResponseMetadata,
    ConversationDeletedMetadata,
    ScheduleBackfillMetadata,
    ScheduleTickMetadata,
    UserMessageMetadata,
    WebhookDeliveryMetadata,
)
from lightning.groups import GroupMetadata, GroupResultMetadata
from lightning.metadata import Metadata
from lightning.tasks import TaskMetadata, TaskResultMetadata


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
