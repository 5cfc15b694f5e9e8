"""The parts of the platform that the ingress works with."""

from dataclasses import dataclass

from api.streams import Streams
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.identity import Identity
from lightning.domain.tokens import TokenIssuer
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.live import Hub
from lightning.log import Dispatch, EventLog
from lightning.queue import Queue
from lightning.settings import Settings


@dataclass(slots=True)
class Platform:
    """Everything that a route may use; made once for a process.

    Parameters:
      stopping: Set when the process drains, so that streams end.
    """

    settings: Settings
    log: EventLog
    dispatch: Dispatch
    queue: Queue
    identity: Identity
    tokens: TokenIssuer
    conversations: Conversations
    webhooks: Webhooks
    webhook_health: WebhookHealth
    deliveries: Deliveries
    hub: Hub
    streams: Streams
    notify_secret: str
    stopping: bool = False
