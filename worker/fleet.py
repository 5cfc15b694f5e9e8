"""The parts of a process that runs steps: worker and clock alike."""

import os
from dataclasses import dataclass

from dramatiq import Middleware

from actors.actor import Actor, Retries
from actors.chat import Chat
from actors.eraser import Eraser
from actors.messenger import Messenger
from actors.step import Step
from actors.webhook import WebhookDelivery
from brokers import BrokerQueue, SqliteBroker, open_broker
from lightning.crash import crash_at
from lightning.domain.conversations import Conversations
from lightning.domain.deliveries import Deliveries
from lightning.domain.webhook_health import WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.ids import new_id
from lightning.keys import secret
from lightning.live import Notifier
from lightning.llm import LanguageModel, open_model
from lightning.log import Dispatch, EventLog
from lightning.outbound import Courier, Guard, Lanes, Outbound
from lightning.settings import Settings
from lightning.storage import Storage, open_storage


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a worker or the clock works with."""

    broker: SqliteBroker
    queue: BrokerQueue
    storage: Storage
    log: EventLog
    dispatch: Dispatch
    step: Step
    model: LanguageModel
    notifier: Notifier

    async def close(self) -> None:
        """Let go of what belongs to the event loop, then of the rest."""
        await self.notifier.close()
        await self.model.close()
        await self.queue.close()
        await self.storage.close()


def open_fleet(settings: Settings, middleware: list[Middleware], process: str) -> Fleet:
    """Open the parts that the settings name.

    Parameters:
      settings: The settings.
      middleware: What the broker runs around each message.
      process: ``worker`` or ``clock``.
    """
    storage = open_storage(settings)
    crash = crash_at(settings.crash_at, settings.data, process)
    broker = open_broker(settings, middleware, crash=crash)
    queue = BrokerQueue(broker, settings.servicebus_queue)
    log = EventLog(storage, sweep_seconds=settings.sweep_seconds)
    dispatch = Dispatch(log, queue, crash=crash)
    model = open_model(
        provider=settings.llm,
        api_key=secret(settings.openai_api_key),
        model=settings.openai_model,
        base_url=settings.openai_base_url,
        timeout_seconds=settings.model_timeout_seconds,
        api_version=settings.openai_api_version,
        client_id=settings.azure_client_id,
    )
    notifier = Notifier(settings.notify_url, secret(settings.notify_secret, "NOTIFY_SECRET"))
    conversations = Conversations(storage, log)
    webhooks = Webhooks(storage, Guard.allowing(settings.webhook_allow))
    actors: dict[str, Actor] = {
        "chat": Chat(log, model, conversations, notifier=notifier, context_tokens=settings.context_tokens),
        "eraser": Eraser(conversations),
        "messenger": Messenger(notifier, webhooks),
        "webhook": _webhook_delivery(settings, storage, log, webhooks),
    }
    step = Step(
        log,
        dispatch,
        actors,
        owner=f"{os.getpid()}-{new_id()}",
        claim_seconds=settings.claim_seconds,
        max_attempts=settings.max_attempts,
        backoff_seconds=settings.retry_seconds,
        crash=crash,
    )
    return Fleet(broker, queue, storage, log, dispatch, step, model, notifier)


def _webhook_delivery(
    settings: Settings, storage: Storage, log: EventLog, webhooks: Webhooks
) -> WebhookDelivery:
    waits = tuple(float(wait) for wait in settings.webhook_retries.split(","))
    guard = Guard.allowing(settings.webhook_allow)
    return WebhookDelivery(
        log,
        webhooks,
        WebhookHealth(storage, first_pause_seconds=waits[0]),
        Deliveries(storage, log),
        Courier(Outbound(guard, timeout_seconds=settings.webhook_timeout_seconds)),
        Lanes(settings.webhook_threads),
        Retries(len(waits) + 1, waits),
    )
