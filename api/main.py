"""The web process: the ingress under uvicorn."""

import asyncio
import signal
import socket
import sys
import time
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from api.connections import HttpProtocol, WebSocketProtocol
from api.metrics import mount_metrics
from api.platform import Platform
from api.run_api.serving import RunApiServer
from api.websocket import MAX_FRAME_BYTES
from lightning.errors import StoreTooNew
from lightning.garbage import look_less_often
from lightning.settings import Settings, SettingsError, from_environment
from lightning.storage import refuse_newer
from lightning.telemetry.setup import configure_from

#: What is under way when the process is told to stop may take this long.
DRAIN_SECONDS = 10

#: A WebSocket whose client does not answer a ping in time is closed.
PING_SECONDS = 20.0


class Server(uvicorn.Server):
    """Uvicorn's server; when it is told to stop, endless streams are ended first.

    Parameters:
      config: Uvicorn's configuration.
      app: The application that it serves.
    """

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app
        self._run_api: RunApiServer | None = None
        self._beside: asyncio.Task[None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        self._drain()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and serve the run API beside the rest."""
        await super().startup(sockets)
        parts: Platform = self._app.state.platform
        if parts.settings.run_api_socket is not None and self.started:
            drain_seconds = self.config.timeout_graceful_shutdown or DRAIN_SECONDS
            self._run_api = RunApiServer(
                self._app, parts.settings.run_api_socket, drain_seconds=drain_seconds
            )
            self._beside = asyncio.create_task(self._run_api.serve())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, whatever the reason to stop."""
        self._drain()
        if self._beside is not None:
            for server in self.servers:
                server.close()  # nothing new is taken on anywhere
            begun = time.monotonic()
            await self._beside
            left = (self.config.timeout_graceful_shutdown or DRAIN_SECONDS) - (time.monotonic() - begun)
            self.config.timeout_graceful_shutdown = max(1, round(left))
        await super().shutdown(sockets)

    def _drain(self) -> None:
        parts: Platform | None = getattr(self._app.state, "platform", None)
        if parts is not None:
            parts.stopping = True
            parts.hub.wake_all()
        if self._run_api is not None:
            self._run_api.stop()


def configuration(
    app: Starlette, settings: Settings, *, drain_seconds: int = DRAIN_SECONDS
) -> uvicorn.Config:
    """Say how uvicorn serves the ingress.

    Parameters:
      app: The application.
      settings: Where it listens.
      drain_seconds: What is under way when it stops may take so long.
    """
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=drain_seconds,
        loop="uvloop",
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        # its buffers would cost more than everything else about a connection
        ws_per_message_deflate=False,
        # uvicorn would believe whoever connects from loopback; see `api.address`
        proxy_headers=False,
        lifespan="on",
        backlog=4096,
    )


def main() -> None:
    """Run until told to stop."""
    try:
        settings = from_environment()
        refuse_newer(settings)
        app = create_app(settings)
    except (SettingsError, StoreTooNew) as error:
        sys.exit(str(error))
    telemetry = configure_from(settings, "lightning-web")
    if telemetry.scrape is not None:
        mount_metrics(app, telemetry.scrape)
    config = configuration(app, settings)
    server = Server(config, app)
    look_less_often()

    def end(number: int, _frame: FrameType | None) -> None:
        telemetry.shutdown()
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)

    signal.signal(signal.SIGTERM, end)  # uvicorn raises it again once it has drained, which ends the process
    try:
        server.run()
    finally:
        telemetry.shutdown()
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
