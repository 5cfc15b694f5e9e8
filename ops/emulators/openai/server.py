"""Runs the emulated model on loopback: in a thread for tests, or as a process of its own."""

import argparse
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from ops.emulators.loopback import serving, stop_signals
from ops.emulators.openai.app import ScriptedModel
from ops.emulators.openai.script import Script


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
    with serving(app, "scripted-model", port) as taken:
        yield f"http://127.0.0.1:{taken}/v1"


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
    with stop_signals() as signals:
        try:
            with serve(ScriptedModel(options.script, key=options.key), options.port) as base_url:
                sys.stdout.write(base_url + "\n")
                sys.stdout.flush()
                signal.sigwait(signals)
        except OSError as error:
            parser.error(f"argument --port: {error}")


def _steps(path: str) -> list[object]:
    """Read a script, for argparse."""
    try:
        steps = orjson.loads(Path(path).read_bytes())
        Script(steps)
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return steps
