"""One SERVER span for each request, the beginning of an event's trace."""

import re
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lightning.telemetry import carrier, names

#: Requests that happen all the time and begin nothing.
QUIET_PATHS = frozenset({"/api/health", "/metrics", "/notify"})

#: Pages that people look at begin nothing, and look again by themselves; what is done there does.
QUIET_PAGES = "/dashboard"

#: What a posted event is called that came in over a WebSocket.
EVENT_FRAME = "ws event"

#: No id of ours is so long, but what was taken for one, such as a token.
_LONG: Final = re.compile(r"[^/]{65,}")

_tracer = trace.get_tracer(__name__)


@contextmanager
def frame_span(path: str) -> Generator[trace.Span]:
    """Begin a trace with an event frame, as `POST /api/events` begins one.

    Parameters:
      path: Of the WebSocket that it came over.
    """
    with _tracer.start_as_current_span(
        EVENT_FRAME, context=Context(), kind=trace.SpanKind.SERVER, attributes={names.HTTP_ROUTE: path}
    ) as span:
        yield span


class TraceRequests:
    """ASGI middleware that opens the span and tells it how the request ended.

    A caller's ``traceparent`` (W3C Trace Context) is continued. The query
    string is left out: people put things into it that no operator should read.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI 3)."""
        if scope["type"] != "http" or _is_quiet(scope):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        parent = None
        if b"traceparent" in headers:
            parent = carrier.parent({"traceparent": headers[b"traceparent"].decode("latin-1")})
        with _tracer.start_as_current_span(
            f"{scope['method']} {scope['path']}",
            context=parent,
            kind=trace.SpanKind.SERVER,
            attributes=_attributes(scope),
        ) as span:

            async def note(message: Message) -> None:
                if message["type"] == "http.response.start":
                    self._ended(span, scope, message["status"])
                await send(message)

            await self._app(scope, receive, note)

    def _ended(self, span: trace.Span, scope: Scope, status: int) -> None:
        attributes: dict[str, str | int] = {names.HTTP_RESPONSE_STATUS_CODE: status}
        route = scope.get("route")
        if route is not None:
            # one name for all events, whatever their ids
            span.update_name(f"{scope['method']} {route.path}")
            attributes[names.HTTP_ROUTE] = route.path
        span.set_attributes(attributes)
        if status >= 500:
            span.set_status(trace.StatusCode.ERROR)


def _is_quiet(scope: Scope) -> bool:
    path: str = scope["path"]
    return path in QUIET_PATHS or (scope["method"] == "GET" and path.startswith(QUIET_PAGES))


def _attributes(scope: Scope) -> dict[str, str | int]:
    attributes: dict[str, str | int] = {
        names.HTTP_REQUEST_METHOD: scope["method"],
        names.URL_PATH: _LONG.sub("[long]", scope["path"]),
        names.URL_SCHEME: scope["scheme"],
    }
    address, port = scope.get("server") or ("", None)
    if port is not None:  # else it is a unix socket
        attributes |= {names.SERVER_ADDRESS: address, names.SERVER_PORT: port}
    return attributes
