"""The forms in which people give and see webhooks and their deliveries."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.events import MAX_PLACE
from api.shown import ProblemShown, State
from lightning.domain.webhooks import DELIVERABLE

MAX_DELIVERIES = 50

Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
WebhookName = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^\S(.*\S)?$")]
DeliverableType = Literal[
    "llm.chat.response", "approval.requested", "user.message", "worker.task.result", "worker.group.result"
]
Types = Annotated[list[DeliverableType], Field(max_length=len(DELIVERABLE))]


class WebhookNew(BaseModel):
    """An endpoint to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url
    name: WebhookName | None = None
    types: Types | None = None


class WebhookChanges(BaseModel):
    """What is to change about an endpoint; the rest stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    url: Url | None = None
    name: WebhookName | None = None
    types: Types | None = None
    disabled: bool | None = None


class WebhookShown(BaseModel):
    """An endpoint, as its owner sees it."""

    id: str
    url: str
    name: str
    types: list[str]
    disabled: bool
    reason: str | None
    createdAt: str  # noqa: N815 -- the wire's name


class WebhookWithSecret(WebhookShown):
    """An endpoint with its secret, which is shown when it is made and at no other time."""

    secret: str


class HealthShown(BaseModel):
    """That an endpoint fails, and when it is tried again."""

    failures: int
    since: str
    nextTrialAt: str  # noqa: N815 -- the wire's name


class WebhookWithHealth(WebhookShown):
    """An endpoint with its health; ``failing`` is null while it works."""

    failing: HealthShown | None


class WebhookList(BaseModel):
    """All endpoints of a user."""

    webhooks: list[WebhookShown]


class AttemptShown(BaseModel):
    """One attempt to deliver; ``answer`` holds the first bytes of what came back."""

    number: int
    at: str | None
    milliseconds: int
    status: int | None
    error: str | None
    message: str | None
    answer: str


class DeliveryShown(BaseModel):
    """One message to one endpoint; ``id`` is the `webhook-id` that the endpoint sees."""

    id: str
    seq: int
    webhookID: str  # noqa: N815 -- the wire's name
    eventID: str | None  # noqa: N815 -- the wire's name
    redeliveryOf: str | None  # noqa: N815 -- the wire's name
    state: State
    recordedAt: str  # noqa: N815 -- the wire's name
    nextAttemptAt: str | None  # noqa: N815 -- the wire's name
    error: ProblemShown | None
    attempts: list[AttemptShown]


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first; ``next`` is the ``before`` of the page behind it."""

    deliveries: list[DeliveryShown]
    next: int | None


class Choice(BaseModel):
    """Which deliveries are listed."""

    before: Annotated[int, Field(ge=1, le=MAX_PLACE, description="The `seq` to end ahead of.")] = MAX_PLACE
    limit: Annotated[int, Field(ge=1, le=MAX_DELIVERIES, description="At most so many.")] = 20
