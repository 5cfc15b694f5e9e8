"""The queue of an installation that is put under stress: a file, or Service Bus on loopback."""

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from ops.chaos.emulators import emulator
from ops.emulators.servicebus import (
    Declarations,
    EntityProperties,
    NamespaceServer,
    Options,
    ServiceBusEmulator,
)
from ops.ports import free_port

#: A killed worker's messages wait so long; what lives renews its locks in half of it.
LOCK_SECONDS = 2.0

#: So often a message may come back: its worker is killed again and again.
MAX_DELIVERIES = 100

#: An emulator takes any key; the client wants one to sign with.
_ANY_KEY = "SharedAccessKeyName=RootManageSharedAccessKey;SharedAccessKey=any"


class QueueServer(Protocol):
    """Where an installation keeps its queue."""

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        ...

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give the processes that serve it to the installation with this data directory, by their names."""
        ...

    def lose(self, data: Path) -> str | None:
        """Lose all messages while the installation with this data directory runs.

        Returns:
          The process whose death loses them, which is the caller's to bring about; None: they are lost.
        """
        ...


class FileQueue:
    """The SQLite file in the data directory."""

    def environment(self) -> dict[str, str]:
        """Give no settings: this is what an installation has by itself."""
        return {}

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give nothing: nobody serves a file."""
        del data
        return {}

    def lose(self, data: Path) -> str | None:
        """Remove the file."""
        for file in data.glob("queue.db*"):
            if file.is_file():
                file.unlink(missing_ok=True)


class ServiceBusProcess:
    """A namespace on loopback, served by a process of the installation.

    Parameters:
      durable: Whether its messages outlive the process. Where they do not, every kill loses the whole queue,
        and the log repairs it.
    """

    #: Longer than elsewhere: a machine whose emulator is restarted all the time is late with renewals.
    lock_seconds = 5.0

    def __init__(self, *, durable: bool) -> None:
        self._port = free_port()
        self._durable = durable

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        connection = f"Endpoint=sb://127.0.0.1:{self._port};{_ANY_KEY};UseDevelopmentEmulator=true"
        return {"LIGHTNING_BROKER": "servicebus", "SERVICEBUS_CONNECTION": connection}

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give the emulator."""
        options = ["--port", str(self._port), "--lock-duration", str(self.lock_seconds)]
        options += ["--max-delivery-count", str(MAX_DELIVERIES)]
        if self._durable:
            options += ["--data", str(data / "servicebus")]
        return {"servicebus": emulator("servicebus", *options)}

    def lose(self, data: Path) -> str | None:
        """Name the process that holds them."""
        del data
        if self._durable:
            raise ValueError("these messages outlive the process that serves them")
        return "servicebus"


class EmulatedServiceBus:
    """A namespace in this process, in which each of many installations has queues of its own.

    Parameters:
      lock_seconds: How long a lock lasts.
    """

    def __init__(self, lock_seconds: float = LOCK_SECONDS) -> None:
        properties = EntityProperties(lock_duration=lock_seconds, max_delivery_count=MAX_DELIVERIES)
        self._declarations = Declarations(default=properties)
        self._emulator = self._start(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._emulator.stop()

    def environment(self) -> dict[str, str]:
        """Give the settings that point a new installation at it."""
        return {
            "LIGHTNING_BROKER": "servicebus",
            "SERVICEBUS_CONNECTION": self._emulator.connection_string,
            "SERVICEBUS_QUEUE": f"q-{uuid.uuid4().hex}",
        }

    def commands(self, data: Path) -> Mapping[str, Sequence[str]]:
        """Give nothing: it is served here."""
        del data
        return {}

    def lose(self, data: Path) -> str | None:
        """Start anew on the same port, with nothing kept."""
        del data
        port = self._emulator.call(_port)
        self._emulator.stop()
        self._emulator = self._start(port)

    def _start(self, port: int) -> ServiceBusEmulator:
        emulator = ServiceBusEmulator(Options(port=port, declarations=self._declarations))
        emulator.start()
        return emulator


def _port(server: NamespaceServer) -> int:
    return server.port
