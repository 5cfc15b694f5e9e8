"""What the emulators that speak HTTP have in common, as objects and as processes."""

import argparse
import signal
import sqlite3
import ssl
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, Self, TypeVar

from starlette.types import ASGIApp

from lightning.errors import LightningError
from lightning.private_files import write_private
from ops.emulators.http_faults import HttpFaults
from ops.emulators.loopback import serving, stop_signals

FaultsT = TypeVar("FaultsT", bound=HttpFaults[Any])


class HttpEmulator(ABC, Generic[FaultsT]):
    """An emulator on loopback, in a thread of its own, from `start` to `stop` or in a ``with``.

    Parameters:
      port: The port; 0 takes a free one, which stays the same when it is started again.
      control_port: The port of the control interface; 0 takes a free one, None has none.
      tls: With what to serve HTTPS; None: HTTP.
    """

    #: What it is, in the names of its threads.
    name: ClassVar[str]

    faults: FaultsT

    def __init__(self, port: int, control_port: int | None, tls: ssl.SSLContext | None = None) -> None:
        self._port = port
        self._control_port = control_port
        self._tls = tls
        self._stack = ExitStack()

    @abstractmethod
    def _open(self, stack: ExitStack) -> tuple[ASGIApp, ASGIApp]:
        """Make what is served, and its control interface; what is to be closed again goes on the stack."""

    @property
    @abstractmethod
    def connection_string(self) -> str:
        """What a client needs."""

    def start(self) -> None:
        """Open what is kept and begin to serve.

        Raises:
          OSError: A port is taken.
          sqlite3.OperationalError: The folder's file cannot be used, or another emulator does.
          LightningError: The machine cannot do what is emulated.
        """
        with ExitStack() as stack:
            app, control = self._open(stack)
            self._port = stack.enter_context(serving(app, f"{self.name}-emulator", self._port, tls=self._tls))
            if self._control_port is not None:
                serves = serving(control, f"{self.name}-control", self._control_port)
                self._control_port = stack.enter_context(serves)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        """Stop serving; without a folder, what it had is gone."""
        self._stack.close()

    @property
    def control_url(self) -> str:
        """The address of the control interface."""
        return f"http://127.0.0.1:{self._control_port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def kept_secret(data: Path | None, name: str, make: Callable[[], str]) -> str:
    """Give the secret that a file of a folder keeps, made when there is none; without a folder, a new one."""
    if data is None:
        return make()
    path = data / name
    if not path.exists():
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(path, make())
    return path.read_text()


def run(
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None,
    make: Callable[[argparse.Namespace], HttpEmulator[Any]],
) -> None:
    """Serve until SIGTERM or SIGINT; one line on standard output, the connection string, says it is ready.

    Parameters:
      parser: Reads the arguments, of which ``--fault`` is one.
      arguments: What it reads; None: those of the process.
      make: Makes the emulator of what was read.

    Raises:
      SystemExit: The arguments cannot be used, a port is taken, or nothing can run here.
    """
    options = parser.parse_args(arguments)
    with stop_signals() as signals:
        try:
            emulator = make(options)
            for fault in options.fault:
                emulator.faults.add(**fault)
            with emulator:
                sys.stdout.write(emulator.connection_string + "\n")
                sys.stdout.flush()
                signal.sigwait(signals)
        except (OSError, ValueError, sqlite3.OperationalError, LightningError) as error:
            parser.error(str(error))
