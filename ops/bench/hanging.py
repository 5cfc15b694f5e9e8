"""What a user whose endpoint works waits for, while those of another one hang."""

import socket
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import SimpleQueue

import httpx2

from lightning.client import Client
from ops.bench.plan import Result, summarise
from ops.bench.target import Target

#: Endpoints that hang: each message of their user goes to all of them.
ENDPOINTS = 5

#: A message must be at the endpoint so soon.
PATIENCE_SECONDS = 60.0


def hanging(workers: int, threads: int, *, messages: int = 100, times: int = 20) -> dict[str, Result]:
    """Measure the time from a post to the webhook that tells of it: alone, and beside endpoints that hang."""
    arrived: SimpleQueue[float] = SimpleQueue()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        works = stack.enter_context(_receiver(arrived))
        # it takes connections, and reads nothing
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1024))
        hangs = f"http://127.0.0.1:{server.getsockname()[1]}"
        environment = {
            "LIGHTNING_WORKERS": str(workers),
            "LIGHTNING_THREADS": str(threads),
            "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
        }
        target = stack.enter_context(Target(Path(folder), users=2, environment=environment, whole=True))
        tokens = [*target.tokens.values()]
        noisy, small = (stack.enter_context(Client(target.url, token=token)) for token in tokens)
        for number in range(ENDPOINTS):
            _register(target.url, tokens[0], f"{hangs}/{number}")
        _register(target.url, tokens[1], works)
        _times(small, arrived, 2)
        alone = _times(small, arrived, times)
        for number in range(messages):
            noisy.send("user.message", {"content": f"message {number}"})
        beside = _times(small, arrived, times)
    ratio = {"times of what the longest took alone": beside.max_ms / alone.max_ms}
    return {
        "webhook, alone": alone,
        f"webhook, beside {messages * ENDPOINTS:,} that hang": replace(beside, figures=ratio),
    }


def _register(url: str, token: str, endpoint: str) -> None:
    answer = httpx2.post(
        f"{url}/api/webhooks",
        json={"url": endpoint, "types": ["user.message"]},
        headers={"authorization": f"Bearer {token}"},
        trust_env=False,
    )
    answer.raise_for_status()


def _times(client: Client, arrived: SimpleQueue[float], times: int) -> Result:
    began, took = time.perf_counter(), list[float]()
    for number in range(times):
        sent = time.perf_counter()
        client.send("user.message", {"content": f"message {number}"})
        took.append(arrived.get(timeout=PATIENCE_SECONDS) - sent)
    return summarise(took, time.perf_counter() - began, {})


@contextmanager
def _receiver(arrived: SimpleQueue[float]) -> Generator[str]:
    """Run an endpoint that says when something came; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.put(time.perf_counter())
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
