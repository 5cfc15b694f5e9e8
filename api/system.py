"""`/api/health` and `/notify`: what other programs ask of the ingress."""

import asyncio
from collections.abc import Awaitable
from typing import Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import platform, read_body, respond
from lightning.errors import LightningError
from lightning.live import Notification, read_notification, run_frames

#: A part that does not answer in time is not ready.
PART_SECONDS = 2.0


class PartShown(BaseModel):
    """Whether one part of the platform answers; ``error`` says why not."""

    ready: bool
    error: str | None = None


class HealthShown(BaseModel):
    """How the ingress is: ``ok``, ``degraded`` (the queue is away) or ``unavailable``."""

    status: Literal["ok", "degraded", "unavailable"]
    live: bool
    ready: bool
    parts: dict[str, PartShown]


async def health(request: Request) -> Response:
    """Tell whether the ingress lives, and whether each part that it needs is ready.

    The queue may be away: events are recorded all the same and announced when it is back.
    """
    parts = platform(request)
    storage = await _check(parts.log.check())
    queue = await _check(parts.queue.check())
    ready = storage["ready"] and not parts.stopping
    body = {
        "status": "ok" if ready and queue["ready"] else "degraded" if ready else "unavailable",
        "live": True,
        "ready": ready,
        "parts": {"storage": storage, "queue": queue},
    }
    return respond(body, 200 if ready else 503)


async def _check(question: Awaitable[object]) -> dict[str, object]:
    try:
        async with asyncio.timeout(PART_SECONDS):
            await question
    except LightningError as error:
        return {"ready": False, "error": error.code}
    except TimeoutError:
        return {"ready": False, "error": "timeout"}
    return {"ready": True}


async def notify(request: Request) -> Response:
    """Hand the frames of a signed notification to open streams, and wake the readers of the logs it names."""
    parts = platform(request)
    body = await read_body(request)
    notification = read_notification(parts.notify_secret, request.headers, body)
    # else whoever is woken might look before what was told of can be seen here
    parts.log.resume(notification.session)
    for user_id, deltas in notification.deltas.items():
        parts.hub.deliver(user_id, deltas)
    for user_id, frames in run_frames(notification).items():
        parts.hub.tell(user_id, frames)
    for user_id in notification.users:
        parts.hub.wake(user_id)
    return Response(status_code=204)


ROUTES = (
    Operation(
        "GET",
        "/api/health",
        health,
        summary="Tell whether the ingress lives, and whether each part that it needs is ready.",
        scope=None,
        answers={200: HealthShown, 503: HealthShown},
        needs_store=False,
    ),
    Operation(
        "POST",
        "/notify",
        notify,
        summary="Hand on the frames of a signed notification, and wake the readers of the logs it names.",
        scope=None,
        body=Notification,
        headers={
            "webhook-id": "Id of the notification (Standard Webhooks).",
            "webhook-timestamp": "When it was sent, in seconds since 1970.",
            "webhook-signature": "`v1,` and the signature.",
        },
        answers={204: None},
        raw_body=True,
        needs_store=False,
        problems={400: ("not_a_notification",), 401: ("signature_refused",)},
    ),
)
