"""What the emulators that speak HTTP share: a server on loopback, in a thread of its own."""

import signal
import socket
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0

#: What is then still being answered, as by a fault that stalls, is given up.
GIVE_UP_SECONDS = 3

#: Idle connections stay: a server that closes one just when a client uses it again looks like a fault.
KEEP_ALIVE_SECONDS = 600

#: The ASGI extension by which the server lets an answer drop its connection.
HANG_UP = "lightning.hang_up"


class _Protocol(HttpToolsProtocol):
    """Lets the application drop its connection, which ASGI alone has no word for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"close": self.transport.close}}


class _Server(uvicorn.Server):
    """Says when it accepts, and drops open answers when it stops instead of waiting for them."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.accepting.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            # TLS would wait for the client to say goodbye, which an idle one does not
            drop = connection.transport.abort if self.config.is_ssl else connection.transport.close
            drop()
        await super().shutdown(sockets)


@contextmanager
def serving(app: ASGIApp, name: str, port: int = 0, *, tls: ssl.SSLContext | None = None) -> Generator[int]:
    """Serve an application on 127.0.0.1 while the context lasts.

    Parameters:
      app: The application.
      name: What it is, for the thread's name and for errors.
      port: The port; 0 takes a free one.
      tls: With what to serve HTTPS; None: HTTP.

    Returns:
      The port.

    Raises:
      OSError: The port is taken.
    """
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        taken = listener.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GIVE_UP_SECONDS,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        server = _Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name=name, daemon=True)
        thread.start()
        try:
            if not server.accepting.wait(START_TIMEOUT_SECONDS):
                raise RuntimeError(f"The {name} did not start on port {taken}.")
            yield taken
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT_SECONDS)
    if thread.is_alive():
        raise RuntimeError(f"The {name} on port {taken} did not stop.")


@contextmanager
def stop_signals() -> Generator[set[signal.Signals]]:
    """Hold back SIGTERM and SIGINT while the context lasts, for `signal.sigwait`.

    Entered before a server's thread exists, so that the thread inherits it.
    """
    signals = {signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield signals
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
