"""The brokers under test, what each of them can do, and how the tests reach behind it."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dramatiq
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from dramatiq import Broker, Worker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import Middleware, default_middleware

from brokers.servicebus import ServiceBusBroker
from brokers.sqlite import SqliteBroker
from ops.emulators.servicebus import EntityProperties, NamespaceServer, Options, ServiceBusEmulator
from tests.contract.broker_programs.actors import declare

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Dead:
    """A dead letter, whatever the broker calls its parts."""

    body: bytes
    reason: str
    error: str
    deliveries: int


class Kit:
    """A broker and what surrounds it in a test."""

    kind = ""
    capabilities: frozenset[str] = frozenset()
    #: Options of a broker that gives up soon.
    impatient: Mapping[str, Any] = {}

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self._opened: list[Broker] = []
        self._processes: list[subprocess.Popen[str]] = []

    def create(self, middleware: list[Middleware], **options: Any) -> Broker:
        raise NotImplementedError

    def open(self, *, extra: list[Middleware] | None = None, **options: Any) -> Broker:
        """Open the broker as another process would."""
        middleware = [m() for m in default_middleware] + (extra or [])
        broker = self.create(middleware, **options)
        self._opened.append(broker)
        return broker

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()
        for broker in self._opened:
            broker.close()

    def actors(self, broker: Broker) -> dict[str, dramatiq.Actor]:
        """Declare the actors of the programs, to send to them."""
        return declare(broker, self.log)

    def start(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start the program of `broker_programs` in a process of its own."""
        command = [sys.executable, "-m", "tests.contract.broker_programs.actors", self.kind]
        command += [json.dumps(self.program_options(options)), str(self.log), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self._processes.append(process)
        return process

    def start_worker(self, *arguments: str, **options: Any) -> "subprocess.Popen[str]":
        """Start a worker, and return once it works."""
        process = self.start(*arguments, **options)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def program_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return options

    def noted(self, what: str) -> list[str]:
        """The values that the actor of a program has noted."""
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line.split()[1] for line in lines if line.split()[0] == what]

    def dead(self, broker: Any) -> list[Dead]:
        raise NotImplementedError

    def inject(self, queue_name: str, body: bytes) -> None:
        """Put bytes on a queue that no sender of ours would."""
        raise NotImplementedError

    def stop_renewing(self, broker: Any, consumer: Any) -> None:
        """Close a consumer, and let the leases of what it has delivered run out."""
        raise NotImplementedError

    def wipe(self) -> None:
        """Lose the broker's state while processes use it."""
        raise NotImplementedError

    def unreachable(self) -> AbstractContextManager[None]:
        """Keep the broker from its state meanwhile."""
        raise NotImplementedError


class StubKit(Kit):
    """Dramatiq's own broker for tests: what it does is what every broker must do."""

    kind = "stub"

    def create(self, middleware: list[Middleware], **options: Any) -> Broker:
        assert not options
        return StubBroker(middleware, fail_fast_default=False)

    def dead(self, broker: Any) -> list[Dead]:
        return [Dead(m.encode(), "rejected", m.options.get("traceback", ""), 1) for m in broker.dead_letters]


class SqliteKit(Kit):
    """Our broker on an SQLite file."""

    kind = "sqlite"
    capabilities = frozenset(
        {"durable", "native delay", "leases", "requeue", "crashpoints", "wipe", "age", "outages"}
    )

    @property
    def path(self) -> Path:
        return self.directory / "queue.db"

    def create(self, middleware: list[Middleware], **options: Any) -> Broker:
        return SqliteBroker(self.path, middleware=middleware, **options)

    def program_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"path": str(self.path), **options}

    def dead(self, broker: Any) -> list[Dead]:
        return [Dead(d.body, d.reason, d.error, d.deliveries) for d in broker.dead_letters()]

    def inject(self, queue_name: str, body: bytes) -> None:
        connection = sqlite3.connect(self.path)
        statement = "INSERT INTO messages (queue_name, visible_at, due_at, body) VALUES (?, 0, 0, ?)"
        connection.execute(statement, (queue_name, body))
        connection.commit()
        connection.close()

    def stop_renewing(self, broker: Any, consumer: Any) -> None:
        consumer.close()
        broker._keeper.close()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self.path.mkdir()
        yield
        self.path.rmdir()

    def wipe(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)


class ServiceBusKit(Kit):
    """Our broker on Service Bus, which is emulated on loopback: the SDK cannot tell."""

    kind = "servicebus"
    capabilities = frozenset(
        {"durable", "native delay", "leases", "requeue", "crashpoints", "wipe", "outages"}
    )
    impatient: Mapping[str, Any] = {"send_timeout_seconds": 3.0}

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.properties = EntityProperties(lock_duration=30)
        self.emulator = ServiceBusEmulator()
        self.emulator.start()
        self.port = self.emulator.call(lambda server: server.port)

    def close(self) -> None:
        super().close()
        self.emulator.stop()

    def create(self, middleware: list[Middleware], **options: Any) -> Broker:
        return ServiceBusBroker(
            self.emulator.connection_string, middleware=middleware, **self.arrange(options)
        )

    def program_options(self, options: dict[str, Any]) -> dict[str, Any]:
        return {"connection_string": self.emulator.connection_string, **self.arrange(options)}

    def arrange(self, options: dict[str, Any]) -> dict[str, Any]:
        """Set what is a property of the queue with Service Bus, and give the other options."""
        given = {"max_backoff_seconds": 0.5, **options}  # or it would be left alone for ten when busy
        self.properties = EntityProperties(
            lock_duration=given.pop("lease_seconds", self.properties.lock_duration),
            max_delivery_count=given.pop("max_deliveries", self.properties.max_delivery_count),
        )

        def declare(server: NamespaceServer) -> None:
            queue = server.container.namespace.source("default")
            queue.properties = self.properties

        self.emulator.call(declare)
        return {"shortest_lock_seconds": min(2.0, self.properties.lock_duration), **given}

    def dead(self, broker: Any) -> list[Dead]:
        return [Dead(d.body, d.reason, d.error, d.deliveries) for d in broker.dead_letters()]

    def inject(self, queue_name: str, body: bytes) -> None:
        inject(self.emulator.connection_string, queue_name, body)

    def stop_renewing(self, broker: Any, consumer: Any) -> None:
        consumer.close()

        async def stop() -> None:
            await broker._engine.queue("default").locks.close()

        broker._engine.loop.run(stop())

    def wipe(self) -> None:
        self.emulator.stop()
        self.emulator = ServiceBusEmulator(Options(port=self.port))
        self.emulator.start()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        self.emulator.accept_connections(accepting=False)
        self.emulator.call(lambda server: server.container.close_all())
        yield
        self.emulator.accept_connections(accepting=True)


class AzureKit(Kit):
    """The same broker on a real namespace, which needs a queue named ``default``."""

    kind = "azure"
    capabilities = frozenset({"durable", "native delay", "requeue", "crashpoints"})
    connection_string = os.environ.get("LIGHTNING_TEST_SERVICEBUS", "")

    def create(self, middleware: list[Middleware], **options: Any) -> Broker:
        broker = ServiceBusBroker(self.connection_string, middleware=middleware, **options)
        if not self._opened:
            broker.declare_queue("default")
            broker.flush_all()
        return broker

    def dead(self, broker: Any) -> list[Dead]:
        return [Dead(d.body, d.reason, d.error, d.deliveries) for d in broker.dead_letters()]

    def inject(self, queue_name: str, body: bytes) -> None:
        inject(self.connection_string, queue_name, body)


def inject(connection_string: str, queue_name: str, body: bytes) -> None:
    """Send as a program of another kind would."""
    with (
        ServiceBusClient.from_connection_string(connection_string) as client,
        client.get_queue_sender(queue_name) as sender,
    ):
        sender.send_messages(ServiceBusMessage(body))


KITS: dict[str, type[Kit]] = {kit.kind: kit for kit in (StubKit, SqliteKit, ServiceBusKit)}
if AzureKit.connection_string:
    KITS[AzureKit.kind] = AzureKit


def eventually(condition: Callable[[], object], within: float = 30.0) -> None:
    """Wait for a condition, with a bound."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@contextmanager
def working(broker: Broker, *, threads: int = 4, timeout_ms: int = 100) -> Iterator[Worker]:
    """Run a worker meanwhile."""
    worker = Worker(broker, worker_threads=threads, worker_timeout=timeout_ms)
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


def receive(consumer: Any, within: float = 10.0) -> Any:
    """Wait for the next message of a consumer."""
    deadline = time.monotonic() + within
    while (message := next(consumer)) is None:
        assert time.monotonic() < deadline, "no message came in time"
    return message


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process as a power cut would."""
    process.send_signal(signal.SIGKILL)
    process.wait()


def together(*functions: Callable[[], object]) -> None:
    """Run functions at the same time, and raise what any of them raised."""
    errors: list[BaseException] = []

    def run(function: Callable[[], object]) -> None:
        try:
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
