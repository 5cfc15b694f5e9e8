"""Health of a process that has no HTTP of its own: App Service restarts what does not answer."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, cast

from lightning.telemetry.setup import METRICS_PATH

if TYPE_CHECKING:
    from lightning.telemetry.scrape import Scrape


class _Server(ThreadingHTTPServer):
    def __init__(self, address: tuple[str, int], scrape: "Scrape | None") -> None:
        super().__init__(address, _Health)
        self.scrape = scrape


class _Health(BaseHTTPRequestHandler):
    #: Seconds for a whole request: whoever connects and says nothing holds a thread no longer.
    timeout = 5

    def do_GET(self) -> None:
        """Answer that the process lives, or what it measures."""
        scrape = cast("_Server", self.server).scrape
        if scrape is not None and self.path.partition("?")[0] == METRICS_PATH:
            told = scrape.answer(self.headers.get("authorization"))
            self._answer(told.status, told.media_type, told.body)
        else:
            self._answer(200, "application/json", b'{"status":"ok","live":true}')

    def _answer(self, status: int, media_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", media_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: it is asked every few seconds."""


@contextmanager
def serve_health(host: str, port: int, scrape: "Scrape | None" = None) -> Generator[int]:
    """Answer every GET while the context lasts.

    Parameters:
      host: The address to listen on.
      port: The port; 0 takes a free one.
      scrape: What answers whoever asks for the metrics; None where nobody may.

    Yields:
      The port.
    """
    server = _Server((host, port), scrape)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
