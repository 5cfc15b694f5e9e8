"""Runs the emulator: in a thread for tests, or as a process of its own."""

import argparse
import asyncio
import json
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar, cast

from ops.emulators.servicebus.access import Policy
from ops.emulators.servicebus.configuration import declarations, read_configuration
from ops.emulators.servicebus.control import ControlError, fault_from_json
from ops.emulators.servicebus.entities.properties import EntityProperties
from ops.emulators.servicebus.faults import Fault
from ops.emulators.servicebus.namespace_server import NamespaceServer, Options
from ops.emulators.servicebus.wire.ports import Limits

START_TIMEOUT_SECONDS = 10.0
STOP_TIMEOUT_SECONDS = 10.0

T = TypeVar("T")


class ServiceBusEmulator:
    """An emulated namespace in a thread with a loop of its own, while a ``with`` block lasts.

    Parameters:
      options: How it is set up; None: as it comes.
    """

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or Options()
        self._started: Future[NamespaceServer] = Future()
        self._loop = cast("asyncio.AbstractEventLoop", None)
        self._stop = cast("asyncio.Event", None)
        self._thread = threading.Thread(target=self._run, name="servicebus-emulator", daemon=True)
        self._server = cast("NamespaceServer", None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def connection_string(self) -> str:
        """What a client needs."""
        return self._server.connection_string

    @property
    def control_url(self) -> str | None:
        """The address of the control API, if there is one."""
        return self._server.control_url

    def start(self) -> None:
        """Start it, and return when it accepts connections.

        Raises:
          OSError: A port is taken, or the data folder cannot be used.
        """
        self._thread.start()
        self._server = self._started.result(START_TIMEOUT_SECONDS)

    def stop(self) -> None:
        """Close its connections and stop it."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_TIMEOUT_SECONDS)
        if self._thread.is_alive():
            raise RuntimeError("The Service Bus emulator did not stop.")

    def call(self, action: Callable[[NamespaceServer], T]) -> T:
        """Run something in the emulator's loop, and give its result.

        Parameters:
          action: What to do with the server; it must not block.
        """

        async def run() -> T:
            return action(self._server)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(START_TIMEOUT_SECONDS)

    def accept_connections(self, *, accepting: bool) -> None:
        """Accept new connections, or have them refused."""
        change = self._server.accept_connections(accepting=accepting)
        asyncio.run_coroutine_threadsafe(change, self._loop).result(START_TIMEOUT_SECONDS)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            server = NamespaceServer(self._options)
            await server.start()
        except Exception as error:  # noqa: BLE001 -- raised where the emulator was started
            self._started.set_exception(error)
            return
        self._started.set_result(server)
        await self._stop.wait()
        await server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a line on standard output, the connection string, says that it is ready.

    Parameters:
      arguments: See ``--help``; None: those of the process.

    Raises:
      SystemExit: The arguments cannot be used, or a port is taken.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        asyncio.run(_serve(_options(options)))
    except (OSError, ValueError, sqlite3.Error) as error:
        parser.error(str(error))


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = NamespaceServer(options)
    await server.start()
    sys.stdout.write(server.connection_string + "\n")
    sys.stdout.flush()
    await stop.wait()
    await server.stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lightning emulator servicebus",
        description="Azure Service Bus on loopback, for the unmodified SDK.",
    )
    add = parser.add_argument
    add("--port", type=int, default=0, help="the AMQP port; 0, the default, takes a free one")
    add("--data", type=Path, help="folder in which messages survive the process; none: they do not")
    add("--control-port", type=int, help="port of the control API; none: there is none")
    add("--key", help="the shared access key to demand; none: any key will do")
    add("--config", type=Path, help="entities, in the form of Config.json of Microsoft's emulator")
    add("--strict", action="store_true", help="only entities of --config exist")
    add("--lock-duration", type=float, default=60.0, help="seconds, for entities made on first use")
    add("--max-delivery-count", type=int, default=10, help="for entities made on first use")
    add("--ttl", type=float, help="seconds that a message lives, for entities made on first use")
    add("--duplicate-window", type=float, help="seconds of duplicate detection, for the same")
    add("--latency-in", type=float, default=0.0, help="milliseconds later from clients")
    add("--latency-out", type=float, default=0.0, help="milliseconds later to clients")
    add("--link-idle", type=float, default=600.0, help="seconds until an unused link is detached")
    add("--connection-idle", type=float, help="seconds until an unused connection is closed")
    add("--max-message-size", type=int, default=262_144, help="bytes of a message or a batch")
    add("--fault", action="append", type=_fault, default=[], help="a fault from the start, as JSON")
    return parser


def _options(given: argparse.Namespace) -> Options:
    configuration = {} if given.config is None else read_configuration(given.config)
    default = EntityProperties(
        lock_duration=given.lock_duration,
        max_delivery_count=given.max_delivery_count,
        time_to_live=given.ttl,
        duplicate_window=given.duplicate_window,
    )
    return Options(
        port=given.port,
        control_port=given.control_port,
        data=given.data,
        policy=Policy(key=given.key),
        declarations=declarations(configuration, default, is_strict=given.strict),
        limits=Limits(
            max_message_size=given.max_message_size,
            link_idle_seconds=given.link_idle,
            connection_idle_seconds=given.connection_idle,
        ),
        latency=(given.latency_in / 1000, given.latency_out / 1000),
        faults=tuple(given.fault),
    )


def _fault(text: str) -> Fault:
    """Read a fault, for argparse."""
    try:
        value: object = json.loads(text)
        if not isinstance(value, dict):
            raise ControlError("a fault is a JSON object")
        return fault_from_json(cast("dict[str, object]", value))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
