"""The web process: the ingress under uvicorn."""

import sys
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from api.app import create_app
from api.platform import Platform
from lightning.settings import SettingsError, from_environment
from lightning.telemetry.setup import configure

#: What is under way when the process is told to stop may take this long.
DRAIN_SECONDS = 10


class Server(uvicorn.Server):
    """Uvicorn's server; when it is told to stop, endless streams are ended first.

    Parameters:
      config: Uvicorn's configuration.
      app: The application that it serves.
    """

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain."""
        parts: Platform | None = getattr(self._app.state, "platform", None)
        if parts is not None:
            parts.stopping = True
            parts.hub.wake_all()
        super().handle_exit(sig, frame)


def main() -> None:
    """Run until told to stop."""
    try:
        settings = from_environment()
        app = create_app(settings)
    except SettingsError as error:
        sys.exit(str(error))
    telemetry = configure(
        service_name="lightning-web",
        span_path=settings.data / "spans.db",
        log_format=settings.log,
        log_level=settings.log_level,
        secrets=settings.secret_values(),
    )
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn would believe whoever connects from loopback; see `api.address`
        proxy_headers=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        backlog=4096,
    )
    server = Server(config, app)
    try:
        server.run()
    finally:
        telemetry.shutdown()
    if not server.started:
        sys.exit(3)


if __name__ == "__main__":
    main()
