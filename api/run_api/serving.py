"""Serves the run API at its unix socket, beside the ingress and with its parts."""

import asyncio
import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Final

import structlog
import uvicorn
from starlette.applications import Starlette

from api.connections import HttpProtocol
from api.run_api.app import run_api_of
from api.run_api.socket_place import SocketPlace

#: How often is looked whether the ingress that held the socket before is gone.
TAKE_OVER_SECONDS: Final = 0.2

#: A directory that cannot be used is tried again after so long.
RETRY_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


class _Beside(uvicorn.Server):
    """A server that leaves signals to the one beside which it runs."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


class RunApiServer:
    """The run API at a unix socket, until it is told to stop.

    Parameters:
      ingress: The application whose parts it uses.
      path: Where the socket stands.
      drain_seconds: What is under way when it stops may take so long.
    """

    def __init__(self, ingress: Starlette, path: Path, *, drain_seconds: int) -> None:
        self._path = path
        self._stopping = asyncio.Event()
        self._server = _Beside(
            uvicorn.Config(
                run_api_of(ingress),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=drain_seconds,
                http=HttpProtocol,
                ws="none",
                proxy_headers=False,
                lifespan="off",
            )
        )

    def stop(self) -> None:
        """Begin to stop; `serve` returns when it has."""
        self._stopping.set()
        self._server.should_exit = True

    async def serve(self) -> None:
        """Wait for the socket to be free, then serve there."""
        while not self._stopping.is_set():
            try:
                with SocketPlace(self._path) as place:
                    await self._serve_at(place)
            except OSError as error:
                _log.error("run_api_not_served", path=str(self._path), error=str(error))
                await self._pause(RETRY_SECONDS)

    async def _serve_at(self, place: SocketPlace) -> None:
        while not place.take():
            await self._pause(TAKE_OVER_SECONDS)
            if self._stopping.is_set():
                return
        with place.listen() as listening:
            await self._server.serve([listening])

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
