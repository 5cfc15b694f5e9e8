"""Delivers `webhook.delivery` events: one signed POST to one endpoint, as often as it takes."""

import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

import structlog

from actors.actor import Actor, Retries
from actors.outcome import Again, Done, Outcome, Output
from lightning.domain.deliveries import Attempt, Deliveries, payload
from lightning.domain.webhook import Webhook
from lightning.domain.webhook_health import Admission, WebhookHealth
from lightning.domain.webhooks import Webhooks
from lightning.errors import LightningError, Permanent, Transient
from lightning.events import EventDocument, WebhookDeliveryMetadata, now_text
from lightning.log import EventLog
from lightning.outbound import Courier, Full, Lanes, Result

#: A delivery that waits for its endpoint to come back is given up after so long.
LIFE_SECONDS: Final = 24 * 3600.0

#: An attempt comes later than planned by up to this share of its wait, at random, and never earlier: those
#: that failed together are not made together again.
SPREAD: Final = 0.2

#: Besides the request itself, a trial of an endpoint may take so long.
MARGIN_SECONDS: Final = 5.0

GONE: Final = 410

_log = structlog.get_logger(__name__)


class WebhookDelivery(Actor):
    """The webhook actor.

    It has threads of its own beside those of the other actors, and never holds
    more; what finds no room is put off without counting as an attempt. So no
    endpoint, however it behaves, holds up messages to people or other endpoints.

    Parameters:
      log: Where the delivered events are.
      webhooks: The endpoints.
      health: Which of them fail.
      deliveries: Where attempts are noted.
      courier: Posts.
      lanes: How much runs at once.
      retries: When failed attempts are repeated.
      randomness: Gives numbers from 0 to 1, which spread the attempts.
    """

    def __init__(
        self,
        log: EventLog,
        webhooks: Webhooks,
        health: WebhookHealth,
        deliveries: Deliveries,
        courier: Courier,
        lanes: Lanes,
        retries: Retries,
        *,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self.retries = retries
        self._retries = retries
        self._event_log = log
        self._webhooks = webhooks
        self._health = health
        self._deliveries = deliveries
        self._courier = courier
        self._lanes = lanes
        self._randomness = randomness

    async def handle(self, event: EventDocument, metadata: WebhookDeliveryMetadata) -> Outcome:
        """Make one attempt, or wait for room; see `Actor.handle`."""
        webhook = await self._webhooks.find(event["userID"], metadata.webhookID)
        if webhook is None or webhook.disabled:
            await self._skip(event, webhook)
            return Done()
        try:
            with self._lanes.room(event["userID"], webhook.id):
                return await self._take_turn(event, metadata, webhook)
        except Full as full:
            return Again(full.wait_seconds, keep_attempts=True)

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Nothing follows: the delivery log tells of it."""
        del event, error
        return []

    async def _take_turn(
        self, event: EventDocument, metadata: WebhookDeliveryMetadata, webhook: Webhook
    ) -> Outcome:
        asked_for = metadata.eventID is None or metadata.redeliveryOf is not None
        admission = await self._health.admit(
            event["userID"],
            webhook.id,
            event["id"],
            self._courier.timeout_seconds + MARGIN_SECONDS,
            at_once=asked_for and event["attempts"] == 1,
        )
        if admission.wait_seconds:
            if _is_old(event):
                message = "the endpoint has not been working for a day; repair it, then replay this event"
                raise Permanent(message, code="endpoint_unavailable")
            return Again(admission.wait_seconds, keep_attempts=True)
        body = await self._body(event, metadata)
        at, started = now_text(), time.monotonic()
        result = await self._courier.post(
            webhook.url,
            body,
            webhook_id=webhook.id,
            message_id=event["id"],
            secrets=webhook.secrets(time.time()),
        )
        milliseconds = round((time.monotonic() - started) * 1000)
        await self._note(event, result, at, milliseconds)
        return await self._judge(event, webhook, result, admission)

    async def _body(self, event: EventDocument, metadata: WebhookDeliveryMetadata) -> bytes:
        if metadata.eventID is None:
            return payload(None, event)
        delivered = await self._event_log.get(event["userID"], metadata.eventID)
        if delivered is None:
            raise Permanent("the event that was to be delivered is not in the log", code="event_gone")
        if "erased" in delivered:
            raise Permanent("what was to be delivered was deleted with its conversation", code="erased")
        return payload(delivered, event)

    async def _judge(
        self, event: EventDocument, webhook: Webhook, result: Result, admission: Admission
    ) -> Outcome:
        user_id = event["userID"]
        if result.status == GONE:
            await self._webhooks.disable(user_id, webhook.id, url=webhook.url, reason="endpoint_gone")
            raise Permanent("the endpoint answered 410 Gone, and is disabled now", code="endpoint_gone")
        if result.is_outage:
            await _quietly(self._health.failed(user_id, webhook.id, result.retry_after))
        elif admission.is_trial:
            await _quietly(self._health.worked(user_id, webhook.id))
        if result.error is None:
            return Done()
        message = result.message or result.error
        if _is_old(event):
            raise Permanent(message, code=result.error)
        wait = max(self._retries.wait(event["attempts"]), result.retry_after)
        wait *= 1 + SPREAD * self._randomness()
        raise Transient(message, retry_after=wait, code=result.error)

    async def _skip(self, event: EventDocument, webhook: Webhook | None) -> None:
        code = "webhook_deleted" if webhook is None else "webhook_disabled"
        await self._note(event, Result(None, code, "nothing was sent"), now_text(), 0)

    async def _note(self, event: EventDocument, result: Result, at: str, milliseconds: int) -> None:
        attempt = Attempt(
            number=event["attempts"],
            at=at,
            milliseconds=milliseconds,
            status=result.status,
            error=result.error,
            message=result.message,
            answer=result.answer.decode(errors="replace"),
        )
        await _quietly(self._deliveries.note(event, attempt))


def _is_old(event: EventDocument) -> bool:
    recorded = datetime.fromisoformat(event["recordedAt"].replace("Z", "+00:00"))
    return time.time() - recorded.timestamp() > LIFE_SECONDS


async def _quietly(writing: Awaitable[None]) -> None:
    """Write what may be missing: what came of a POST is not thrown away for a store that blinks."""
    try:
        await writing
    except LightningError as error:
        _log.warning("delivery_not_noted", code=error.code, error=error.message)
