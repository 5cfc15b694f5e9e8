"""Health of a process that has no HTTP of its own: App Service restarts what does not answer."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Health(BaseHTTPRequestHandler):
    #: Seconds for a whole request: whoever connects and says nothing holds a thread no longer.
    timeout = 5

    def do_GET(self) -> None:
        """Answer that the process lives."""
        body = b'{"status":"ok","live":true}'
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Stay silent: it is asked every few seconds."""


@contextmanager
def serve_health(host: str, port: int) -> Generator[int]:
    """Answer every GET while the context lasts.

    Parameters:
      host: The address to listen on.
      port: The port; 0 takes a free one.

    Yields:
      The port.
    """
    server = ThreadingHTTPServer((host, port), _Health)
    thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
