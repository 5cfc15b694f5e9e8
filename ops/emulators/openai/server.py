"""Runs the emulated model on loopback: in a thread for tests, or as a process of its own."""

import argparse
import signal
import socket
import sys
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ops.emulators.openai.app import ScriptedModel
from ops.emulators.openai.line import HANG_UP
from ops.emulators.openai.script import Script

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0


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
            connection.transport.close()
        await super().shutdown(sockets)


@contextmanager
def serve(app: ScriptedModel, port: int = 0) -> Generator[str]:
    """Serve the model on loopback while the context lasts.

    Parameters:
      app: The model.
      port: The port; 0 takes a free one.

    Returns:
      The base URL, up to and with ``/v1``. ``/control`` lies beside it, at the root.

    Raises:
      OSError: The port is taken.
    """
    with socket.create_server(("127.0.0.1", port), backlog=2048) as listener:
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        config = uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False
        )
        server = _Server(config)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [listener]}, name="scripted-model", daemon=True
        )
        thread.start()
        try:
            if not server.accepting.wait(START_TIMEOUT_SECONDS):
                raise RuntimeError(f"The scripted model did not start on {base_url}.")
            yield base_url
        finally:
            server.should_exit = True
            thread.join(STOP_TIMEOUT_SECONDS)
    if thread.is_alive():
        raise RuntimeError(f"The scripted model on {base_url} did not stop.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output, the base URL, says that it is ready.

    Parameters:
      arguments: ``--port N [--script FILE.json] [--key KEY]``; None: those of the process.

    Raises:
      SystemExit: The arguments or the script cannot be used, or the port is taken.
    """
    parser = argparse.ArgumentParser(
        prog="lightning emulator openai", description="A scripted OpenAI-compatible model on loopback."
    )
    parser.add_argument("--port", type=int, default=0, help="the port; 0, the default, takes a free one")
    parser.add_argument(
        "--script", type=_steps, default=(), help="a JSON file with a list of steps; none: an echo"
    )
    parser.add_argument("--key", help="the API key to demand; none: any or no key will do")
    options = parser.parse_args(arguments)
    # Blocked before the server's thread exists, so that it inherits this and `sigwait` gets the signal.
    signals = {signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with serve(ScriptedModel(options.script, key=options.key), options.port) as base_url:
            sys.stdout.write(base_url + "\n")
            sys.stdout.flush()
            signal.sigwait(signals)
    except OSError as error:
        parser.error(f"argument --port: {error}")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _steps(path: str) -> list[object]:
    """Read a script, for argparse."""
    try:
        steps = orjson.loads(Path(path).read_bytes())
        Script(steps)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return steps
