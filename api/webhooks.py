"""`/api/webhooks`: endpoints to which the platform delivers a user's messages, and what came of it."""

from datetime import UTC, datetime
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.events import MAX_PLACE, whole_number
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, read_json, respond
from api.webhook_forms import (
    MAX_DELIVERIES,
    Choice,
    DeliveryPage,
    DeliveryShown,
    WebhookChanges,
    WebhookList,
    WebhookNew,
    WebhookShown,
    WebhookWithHealth,
    WebhookWithSecret,
)
from lightning.domain.deliveries import Delivery
from lightning.domain.webhook import Webhook
from lightning.domain.webhook_health import Health
from lightning.domain.webhooks import DELIVERABLE
from lightning.errors import Conflict, InvalidEvent, NotFound, json_pointer
from lightning.events import Draft, EventDocument, now_text
from lightning.ids import new_id
from lightning.telemetry import carrier

SOURCE = "lightning.webhooks"


async def list_webhooks(request: Request) -> Response:
    """List the caller's endpoints."""
    claims = await authenticated(request)
    webhooks = await platform(request).webhooks.of(claims.subject)
    return respond({"webhooks": [_shown(webhook) for webhook in webhooks]})


async def create_webhook(request: Request) -> Response:
    """Make an endpoint; its secret is in this answer and in no other."""
    claims = await authenticated(request)
    new = await _read(request, WebhookNew)
    types = [*DELIVERABLE] if new.types is None else new.types
    webhook = await platform(request).webhooks.create(claims.subject, new.url, name=new.name, types=types)
    return respond(_with_secret(webhook), 201, {"location": f"/api/webhooks/{webhook.id}"})


async def get_webhook(request: Request) -> Response:
    """Show one endpoint of the caller's, and whether it works."""
    user_id, webhook = await _own(request)
    health = await platform(request).webhook_health.get(user_id, webhook.id)
    return respond({**_shown(webhook), "failing": failing(health)})


async def change_webhook(request: Request) -> Response:
    """Change an endpoint; a new URL, or enabling it, lets what waits be tried at once."""
    user_id, webhook = await _own(request)
    changes = await _read(request, WebhookChanges)
    named = changes.model_dump(exclude_none=True)
    if named:
        webhook = await platform(request).webhooks.change(user_id, webhook.id, **named)
    return respond(_shown(webhook))


async def rotate_secret(request: Request) -> Response:
    """Give an endpoint a new secret; for a day, messages are signed with the old one too."""
    user_id, webhook = await _own(request)
    return respond(_with_secret(await platform(request).webhooks.rotate(user_id, webhook.id)))


async def delete_webhook(request: Request) -> Response:
    """Remove an endpoint."""
    user_id, webhook = await _own(request)
    await platform(request).webhooks.delete(user_id, webhook.id)
    return Response(status_code=204)


async def test_webhook(request: Request) -> Response:
    """Deliver a `webhook.test` message, the way every message goes."""
    user_id, webhook = await _own(request)
    return _accepted(await deliver(platform(request), user_id, webhook, {}))


async def list_deliveries(request: Request) -> Response:
    """List what was sent to an endpoint, newest first, with each attempt."""
    user_id, webhook = await _own(request)
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    limit = whole_number(request, "limit", 20, lowest=1, highest=MAX_DELIVERIES)
    log = platform(request).deliveries
    found = await log.latest(user_id, webhook.id, before=before, limit=limit)
    return respond(
        {
            "deliveries": [delivery_shown(delivery) for delivery in found.deliveries],
            "next": found.deliveries[-1].event["seq"] if found.more else None,
        }
    )


async def redeliver(request: Request) -> Response:
    """Deliver a message once more, now, as a delivery of its own."""
    user_id, webhook = await _own(request)
    return _accepted(await redeliver_to(platform(request), user_id, webhook, request.path_params["delivery"]))


async def redeliver_to(parts: Platform, user_id: str, webhook: Webhook, delivery_id: str) -> EventDocument:
    """Deliver a message once more.

    Raises:
      NotFound: There is no such delivery to this webhook.
      Conflict: The webhook is disabled (``webhook_disabled``).
    """
    first = await parts.deliveries.find(user_id, webhook.id, delivery_id)
    if first is None:
        raise NotFound("there is no such delivery to this webhook")
    again = {name: first["metadata"][name] for name in ("eventID",) if name in first["metadata"]}
    return await deliver(parts, user_id, webhook, {**again, "redeliveryOf": first["id"]})


async def deliver(parts: Platform, user_id: str, webhook: Webhook, metadata: dict[str, Any]) -> EventDocument:
    """Deliver a message to a webhook, now.

    Raises:
      Conflict: The webhook is disabled (``webhook_disabled``).
    """
    if webhook.disabled:
        raise Conflict("the webhook is disabled; enable it first", code="webhook_disabled")
    draft = Draft(
        id=new_id(),
        type="webhook.delivery",
        source=SOURCE,
        metadata={"webhookID": webhook.id, **metadata},
        timestamp=now_text(),
        trace=carrier.current(),
    )
    event, _ = await parts.dispatch.accept(user_id, draft)
    parts.hub.wake(user_id)
    return event


def _accepted(event: EventDocument) -> Response:
    return respond(delivery_shown(Delivery(event, [])), 202, {"location": f"/api/events/{event['id']}"})


async def _own(request: Request) -> tuple[str, Webhook]:
    """Give the caller and the endpoint of theirs that the path names.

    Raises:
      NotFound: They have no such endpoint.
    """
    claims = await authenticated(request)
    parts: Platform = platform(request)
    webhook = await parts.webhooks.find(claims.subject, request.path_params["webhook"])
    if webhook is None:
        raise NotFound("there is no such webhook, or it is not yours")
    return claims.subject, webhook


Model = TypeVar("Model", bound=BaseModel)


async def _read(request: Request, model: type[Model]) -> Model:
    raw = await read_json(request)
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        pointer = json_pointer(first["loc"])
        raise InvalidEvent(first["msg"], code="invalid_field", pointer=pointer) from None


def _shown(webhook: Webhook) -> dict[str, Any]:
    return {
        "id": webhook.id,
        "url": webhook.url,
        "name": webhook.name,
        "types": [*webhook.types],
        "disabled": webhook.disabled,
        "reason": webhook.reason,
        "createdAt": webhook.created_at,
    }


def _with_secret(webhook: Webhook) -> dict[str, Any]:
    return {**_shown(webhook), "secret": webhook.secret}


def failing(health: Health) -> dict[str, Any] | None:
    """Say since when an endpoint does not work; None where it does."""
    if health.failures == 0:
        return None
    since, trial = _moment(health.since), _moment(health.not_before)
    return {"failures": health.failures, "since": since, "nextTrialAt": trial}


def delivery_shown(delivery: Delivery) -> dict[str, Any]:
    """Give the form in which people see a delivery."""
    event: EventDocument = delivery.event
    waits = event["state"] == "accepted" and bool(delivery.attempts)
    due = event["dueAt"]
    return {
        "id": event["id"],
        "seq": event["seq"],
        "webhookID": event["metadata"]["webhookID"],
        "eventID": event["metadata"].get("eventID"),
        "redeliveryOf": event["metadata"].get("redeliveryOf"),
        "state": event["state"],
        "recordedAt": event["recordedAt"],
        "nextAttemptAt": _moment(due) if waits and due is not None else None,
        "error": event["error"],
        "attempts": delivery.attempts,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_INVALID = ("invalid_field", "invalid_url", "address_refused")

ROUTES = (
    Operation(
        "GET",
        "/api/webhooks",
        list_webhooks,
        summary="List the caller's webhooks.",
        scope="webhooks:read",
        answers={200: WebhookList},
    ),
    Operation(
        "POST",
        "/api/webhooks",
        create_webhook,
        summary="Make a webhook; its secret is in this answer and in no other.",
        scope="webhooks:write",
        body=WebhookNew,
        answers={201: WebhookWithSecret},
        problems={409: ("too_many_webhooks",), 422: _INVALID},
    ),
    Operation(
        "GET",
        "/api/webhooks/{webhook}",
        get_webhook,
        summary="Show one webhook of the caller's, and whether it works.",
        scope="webhooks:read",
        answers={200: WebhookWithHealth},
    ),
    Operation(
        "PATCH",
        "/api/webhooks/{webhook}",
        change_webhook,
        summary="Change a webhook; a new URL, or enabling it, lets what waits be tried at once.",
        scope="webhooks:write",
        body=WebhookChanges,
        answers={200: WebhookShown},
        problems={422: _INVALID},
    ),
    Operation(
        "DELETE",
        "/api/webhooks/{webhook}",
        delete_webhook,
        summary="Remove a webhook.",
        scope="webhooks:write",
        answers={204: None},
    ),
    Operation(
        "POST",
        "/api/webhooks/{webhook}/rotate",
        rotate_secret,
        summary="Give a webhook a new secret; for a day, messages are signed with the old one too.",
        scope="webhooks:write",
        answers={200: WebhookWithSecret},
    ),
    Operation(
        "POST",
        "/api/webhooks/{webhook}/test",
        test_webhook,
        summary="Deliver a `webhook.test` message, the way every message goes.",
        scope="webhooks:write",
        answers={202: DeliveryShown},
        problems={409: ("webhook_disabled",)},
    ),
    Operation(
        "GET",
        "/api/webhooks/{webhook}/deliveries",
        list_deliveries,
        summary="List what was sent to a webhook, newest first, with each attempt.",
        scope="webhooks:read",
        query=Choice,
        answers={200: DeliveryPage},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "POST",
        "/api/webhooks/{webhook}/deliveries/{delivery}/redeliver",
        redeliver,
        summary="Deliver a message once more, now, as a delivery of its own.",
        scope="webhooks:write",
        answers={202: DeliveryShown},
        problems={409: ("webhook_disabled",)},
    ),
)
