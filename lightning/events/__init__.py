"""What an event is: its envelope, its types, and its form in the log.

A new event type is one class in ``metadata`` and one line in ``TYPES``.
"""

from lightning.events.document import Act, Claim, Draft, EventDocument, State
from lightning.events.envelope import CLOCK_SKEW, Envelope, normal_form, read_envelope
from lightning.events.metadata import (
    ApprovalDecidedMetadata,
    ApprovalExpiryMetadata,
    ApprovalRequestedMetadata,
    Awaited,
    ChatContinuedMetadata,
    ChatMetadata,
    ChatResponseMetadata,
    ConversationDeletedMetadata,
    ConversationID,
    Name,
    Overlap,
    ScheduleBackfillMetadata,
    ScheduleTickMetadata,
    Usage,
    UserMessageMetadata,
    WebhookDeliveryMetadata,
)
from lightning.events.moments import as_text, now_text, read_moment
from lightning.events.types import TYPES

__all__ = [
    "CLOCK_SKEW",
    "TYPES",
    "Act",
    "ApprovalDecidedMetadata",
    "ApprovalExpiryMetadata",
    "ApprovalRequestedMetadata",
    "Awaited",
    "ChatContinuedMetadata",
    "ChatMetadata",
    "ChatResponseMetadata",
    "Claim",
    "ConversationDeletedMetadata",
    "ConversationID",
    "Draft",
    "Envelope",
    "EventDocument",
    "Name",
    "Overlap",
    "ScheduleBackfillMetadata",
    "ScheduleTickMetadata",
    "State",
    "Usage",
    "UserMessageMetadata",
    "WebhookDeliveryMetadata",
    "as_text",
    "normal_form",
    "now_text",
    "read_envelope",
    "read_moment",
]
