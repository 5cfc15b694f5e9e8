"""Uvicorn's protocols with one more way to end: at once, whatever the reader has not taken."""

import asyncio
from collections.abc import Callable
from typing import Final, cast

from starlette.types import Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_ABORT: Final = "lightning.abort"


class HttpProtocol(HttpToolsProtocol):
    """HTTP whose requests, and the WebSockets they become, can be cut off; see `abort`."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin a connection (asyncio.Protocol)."""
        # closing would wait for the reader to take what is written; only aborting does not
        self.app_state = {**self.app_state, _ABORT: transport.abort}
        super().connection_made(transport)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """WebSocket that knows a refusal in full for an end, and bears the server's end while it is closing."""

    async def send(self, message: ASGISendEvent) -> None:
        """Take what the application says (ASGI 3)."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            self.handshake_complete = True  # else it is taken for an application that failed

    def shutdown(self) -> None:
        """Tell the client that the service restarts (RFC 6455, code 1012)."""
        if not self.transport.is_closing():
            super().shutdown()


def abort(scope: Scope) -> Callable[[], None]:
    """Give what cuts the connection off and throws away what was not sent.

    Under another server than ours it does nothing: there, closing has to do.
    """
    return cast("Callable[[], None]", scope.get("state", {}).get(_ABORT, _nothing))


def _nothing() -> None:
    return
