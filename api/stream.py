"""`/api/stream`: a user's log as server-sent events, from any place on, without end."""

import asyncio
from collections.abc import AsyncGenerator
from typing import Annotated

import orjson
from pydantic import BaseModel, Field
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.requests import Request
from starlette.responses import Response

from api.events import MAX_PLACE
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, whole_number
from api.shown import EventShown
from lightning.errors import InvalidRequest
from lightning.log import public

#: Readers look by themselves this often: a notification may be lost.
POLL_SECONDS = 1.0

#: Comments keep proxies from closing a silent connection.
PING_SECONDS = 15

PAGE = 100


class Position(BaseModel):
    """Where a stream begins."""

    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `seq` to begin behind.")] = 0


async def stream(request: Request) -> Response:
    """Stream the caller's events; each has its ``seq`` as its id.

    A client that comes back with ``Last-Event-ID`` (or ``?after=``) goes on
    behind that place; without either the log is streamed from its beginning.
    """
    claims = await authenticated(request)
    after = _position(request)
    frames = _frames(platform(request), claims.subject, after)
    return EventSourceResponse(frames, ping=PING_SECONDS, headers={"cache-control": "no-store"})


def _position(request: Request) -> int:
    last = request.headers.get("last-event-id")
    if last is None:
        return whole_number(request, "after", 0, highest=MAX_PLACE)
    if not (last.isascii() and last.isdigit() and len(last) < 17 and int(last) <= MAX_PLACE):
        raise InvalidRequest("Last-Event-ID is the id of an event of this stream", code="invalid_position")
    return int(last)


async def _frames(parts: Platform, user_id: str, after: int) -> AsyncGenerator[ServerSentEvent]:
    with parts.hub.reader(user_id) as news:
        while not parts.stopping:
            news.clear()
            events = await parts.log.events(user_id, after=after, limit=PAGE)
            for event in events:
                after = event["seq"]
                data = orjson.dumps(public(event)).decode()
                yield ServerSentEvent(data, id=str(after), event=event["type"])
            if len(events) < PAGE:
                try:
                    async with asyncio.timeout(POLL_SECONDS):
                        await news.wait()
                except TimeoutError:
                    continue


ROUTES = (
    Operation(
        "GET",
        "/api/stream",
        stream,
        summary="Stream the caller's events as server-sent events.",
        scope="events:read",
        query=Position,
        headers={"Last-Event-ID": "The id of the last event that was seen; wins over `after`."},
        answers={200: "text/event-stream"},
        frames={"the type of the event": EventShown},
        problems={400: ("invalid_position", "invalid_parameter")},
    ),
)
