"""`/api/stream`: a user's log as server-sent events, from any place on, without end.

The response is written here and not by sse-starlette: it keeps four tasks and a lock for each stream,
and cannot drop a reader that takes nothing, since ASGI's end of a response waits for what is written.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Annotated, Final, Literal

import orjson
from pydantic import BaseModel, Field
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.connections import abort
from api.events import MAX_PLACE
from api.follow import Item, follow
from api.operation import Operation
from api.platform import Platform
from api.requests import platform, whole_number
from api.shown import EventShown
from api.stream_access import is_allowed_origin, stream_claims
from api.streams import Stream
from lightning.domain.tokens import Claims
from lightning.errors import InvalidRequest
from lightning.live import Delta, LiveFrame, RunLines, RunProgress, RunStage
from lightning.log import public

#: A comment (HTML standard, section 9.2.6), which clients pass over.
HEARTBEAT = b": heartbeat\n\n"

#: What was written last may still take so long to leave after the end.
LINGER_SECONDS = 10.0


class Position(BaseModel):
    """Where a stream begins, and what it carries."""

    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `seq` to begin behind.")] = 0
    deltas: Annotated[
        Literal[0, 1],
        Field(
            description="0 leaves out the pieces of answers that are being written, and what runs show live."
        ),
    ] = 1


class EventStream(Response):
    """A response of server-sent events that lasts until somebody ends it.

    Parameters:
      parts: The platform.
      claims: Whose it is.
      frames: Gives what is sent on the open stream, a frame at a time.
      deltas: Whether deltas are wanted.
      headers: Further headers.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        parts: Platform,
        claims: Claims,
        frames: Callable[[Stream], AsyncGenerator[bytes]],
        *,
        deltas: bool,
        headers: dict[str, str],
    ) -> None:
        no_store = {"cache-control": "no-store", "connection": "close", "x-accel-buffering": "no"}
        super().__init__(headers={**no_store, **headers})
        del self.headers["content-length"]
        self._parts = parts
        self._claims = claims
        self._frames = frames
        self._deltas = deltas

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream (ASGI 3)."""
        head = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        end = {"type": "http.response.body", "body": b""}
        if scope["method"] == "HEAD":
            await send(head)
            await send(end)
            return
        with self._parts.streams.open(self._claims, deltas=self._deltas) as stream:
            watching = asyncio.create_task(_watch(receive, stream))
            try:
                await send(head)
                await self._send_all(stream, send)
                async with asyncio.timeout(self._parts.settings.slow_reader_seconds):
                    await send(end)
                asyncio.get_running_loop().call_later(LINGER_SECONDS, abort(scope))
            except TimeoutError:
                abort(scope)()
                await asyncio.wait({watching}, timeout=LINGER_SECONDS)  # until the server has noticed
            finally:
                watching.cancel()

    async def _send_all(self, stream: Stream, send: Send) -> None:
        patience_seconds = self._parts.settings.slow_reader_seconds
        async with aclosing(self._frames(stream)) as frames:
            async for frame in frames:
                message = {"type": "http.response.body", "body": frame, "more_body": True}
                async with asyncio.timeout(patience_seconds):
                    await send(message)


async def _watch(receive: Receive, stream: Stream) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.leave()


async def _events(parts: Platform, after: int, stream: Stream) -> AsyncGenerator[bytes]:
    async with aclosing(follow(parts, stream, after)) as items:
        async for item in items:
            yield _frame(item)


def _frame(item: Item) -> bytes:
    if item is None:
        return HEARTBEAT
    if isinstance(item, list):
        return b"".join(
            b"event: %b\ndata: %b\n\n" % (kind_of(each).encode(), each.model_dump_json().encode())
            for each in item
        )
    head = f"id: {item['seq']}\nevent: {item['type']}\ndata: ".encode()
    return head + orjson.dumps(public(item)) + b"\n\n"


#: The names of frames that stand in no log.
KINDS: Final[dict[type[LiveFrame], str]] = {
    Delta: "delta",
    RunStage: "run",
    RunLines: "log",
    RunProgress: "progress",
}


def kind_of(frame: LiveFrame) -> str:
    """Name the kind of a frame that stands in no log."""
    return KINDS[type(frame)]


async def stream(request: Request) -> Response:
    """Stream the caller's events; each has its ``seq`` as its id and its type as its name.

    Between them come frames without an id, as far as they reach this ingress in
    time: those named ``delta`` are pieces of an answer that is being written.
    Of a task under way, ``run`` tells that its container is starting or running,
    ``log`` what it printed next, and ``progress`` how far it says that it has
    come. After 15 seconds of silence there is a comment.

    A client that comes back with ``Last-Event-ID`` (or ``?after=``) goes on
    behind that place; without either the log is streamed from its beginning.
    """
    claims = await stream_claims(request)
    deltas = whole_number(request, "deltas", 1, highest=1) == 1
    parts = platform(request)
    frames = partial(_events, parts, position(request))
    return EventStream(parts, claims, frames, deltas=deltas, headers=origin_headers(request))


def origin_headers(request: Request) -> dict[str, str]:
    """Give the headers by which a page of another site that is allowed may read a stream."""
    origin = request.headers.get("origin", "")
    if not is_allowed_origin(request, origin):
        return {}
    return {
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "vary": "origin",
    }


def position(connection: HTTPConnection) -> int:
    """Tell where a stream is to begin.

    Raises:
      InvalidRequest: ``invalid_position`` or ``invalid_parameter``.
    """
    return place(connection, "after", MAX_PLACE)


def place(connection: HTTPConnection, parameter: str, most: int) -> int:
    """Read where to begin from ``Last-Event-ID``, or else from a parameter.

    Raises:
      InvalidRequest: ``invalid_position`` or ``invalid_parameter``.
    """
    last = connection.headers.get("last-event-id")
    if last is None:
        return whole_number(connection, parameter, 0, highest=most)
    if not (last.isascii() and last.isdigit() and len(last) < 17 and int(last) <= most):
        raise InvalidRequest("Last-Event-ID is the id of an event of this stream", code="invalid_position")
    return int(last)


ROUTES = (
    Operation(
        "GET",
        "/api/stream",
        stream,
        summary="Stream the caller's events as server-sent events, and what is under way.",
        scope="events:read",
        query=Position,
        headers={
            "Last-Event-ID": "The id of the last event that was seen; wins over `after`.",
            "Origin": "Of a browser's page: the ingress's own, or one of `LIGHTNING_ALLOWED_ORIGINS`.",
        },
        answers={200: "text/event-stream"},
        frames={
            "the type of the event": EventShown,
            "delta": Delta,
            "run": RunStage,
            "log": RunLines,
            "progress": RunProgress,
        },
        problems={
            400: ("invalid_position", "invalid_parameter", "token_in_url"),
            403: ("foreign_origin",),
            429: ("too_many_streams",),
        },
    ),
)
