"""`/api/events`: post an event, read one, list one's own."""

import asyncio
from contextlib import suppress
from typing import Annotated

from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from api.accepting import accept
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, read_json, respond
from api.shown import EventPage, EventShown, EventWithOutputs
from lightning.errors import InvalidRequest, NotFound
from lightning.events import Envelope, EventDocument
from lightning.log import public
from lightning.storage import Where

MAX_PAGE = 200

#: The largest ``seq`` that every JSON reader keeps exactly (RFC 8259, section 6).
MAX_PLACE = 2**53

#: The longest wait for an event's end in one request.
MAX_WAIT_SECONDS = 60

#: A waiting request looks by itself after so long at first, then twice as long each time up to the second.
FIRST_LOOK_SECONDS = 0.05
LOOK_SECONDS = 1.0
SOON_SECONDS = 0.005


async def post_event(request: Request) -> Response:
    """Accept an event: 202 once it is recorded durably."""
    claims = await authenticated(request)
    raw = await read_json(request)
    event = await accept(platform(request), claims, raw, request.headers.get("idempotency-key"))
    return respond(public(event), 202, {"location": f"/api/events/{event['id']}"})


async def get_event(request: Request) -> Response:
    """Show one event of the caller's, with what followed from it.

    With ``?wait=SECONDS`` the answer waits until the event is over, or so long.
    """
    claims = await authenticated(request)
    parts = platform(request)
    log = parts.log
    seconds = whole_number(request, "wait", 0, highest=MAX_WAIT_SECONDS)
    event = await _when_over(parts, claims.subject, request.path_params["id"], seconds)
    if event is None:
        raise NotFound("there is no such event, or it is not yours")
    outputs = [await log.get(claims.subject, output) for output in event["outputs"]]
    shown = [
        {name: output[name] for name in ("id", "type", "state", "metadata")}
        for output in outputs
        if output is not None
    ]
    return respond({**public(event), "outputs": shown})


async def _when_over(parts: Platform, user_id: str, event_id: str, seconds: float) -> EventDocument | None:
    """Read an event until it is over: at every notification, and by ourselves ever more rarely."""
    deadline = asyncio.get_running_loop().time() + seconds
    pause = FIRST_LOOK_SECONDS
    with parts.hub.reader(user_id) as news:
        while True:
            news.clear()
            event = await parts.log.get(user_id, event_id)
            left = deadline - asyncio.get_running_loop().time()
            if event is None or event["state"] != "accepted" or left <= 0 or parts.stopping:
                return event
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await news.wait()
            # a notification may come just before the commit that it speaks of
            pause = SOON_SECONDS if news.is_set() else min(pause * 2, LOOK_SECONDS)


async def list_events(request: Request) -> Response:
    """List the caller's events by their place in the log, a page at a time."""
    claims = await authenticated(request)
    after = whole_number(request, "after", 0, highest=MAX_PLACE)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    where = [
        Where(field, "=", request.query_params[field])
        for field in ("type", "state", "conversationID", "root")
        if field in request.query_params
    ]
    events = await platform(request).log.events(claims.subject, where, after=after, limit=limit + 1)
    page = events[:limit]
    return respond(
        {
            "events": [public(event) for event in page],
            "next": page[-1]["seq"] if len(events) > limit else None,
        }
    )


def whole_number(request: HTTPConnection, name: str, default: int, *, lowest: int = 0, highest: int) -> int:
    """Read a query parameter that is a whole number.

    Raises:
      InvalidRequest: It is not, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and lowest <= int(text) <= highest):
        raise InvalidRequest(
            f"the parameter {name} is a whole number from {lowest} to {highest}",
            code="invalid_parameter",
        )
    return int(text)


class Waiting(BaseModel):
    """Whether to wait for an event's end."""

    wait: Annotated[
        int, Field(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the event to be over.")
    ] = 0


class Choice(BaseModel):
    """Which of the caller's events are listed."""

    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `seq` to begin behind.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    type: str | None = None
    state: str | None = None
    conversationID: str | None = None  # noqa: N815 -- the wire's name
    root: str | None = None


ROUTES = (
    Operation(
        "POST",
        "/api/events",
        post_event,
        summary="Accept an event: 202 once it is recorded durably.",
        scope="events:write",
        body=Envelope,
        headers={"Idempotency-Key": "The same key with the same event answers with the first one."},
        answers={202: EventShown},
        problems={
            400: ("invalid_idempotency_key",),
            403: ("foreign_user", "platform_event"),
            409: ("id_taken",),
            422: ("unknown_type", "timestamp_in_future", "output_too_large"),
        },
    ),
    Operation(
        "GET",
        "/api/events",
        list_events,
        summary="List the caller's events by their place in the log, a page at a time.",
        scope="events:read",
        query=Choice,
        answers={200: EventPage},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "GET",
        "/api/events/{id}",
        get_event,
        summary="Show one event of the caller's, with what followed from it.",
        scope="events:read",
        query=Waiting,
        answers={200: EventWithOutputs},
        problems={400: ("invalid_parameter",)},
    ),
)
