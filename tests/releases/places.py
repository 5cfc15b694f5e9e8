"""Where a release lived, and lives again: SQLite alone, or Azure's services on loopback.

What is kept of a release are the files of SQLite, and of Azure what its own SDKs see: documents and messages.
"""

import json
import lzma
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from azure.cosmos import CosmosClient, DatabaseProxy, PartitionKey
from azure.servicebus import (
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusReceivedMessage,
    ServiceBusSubQueue,
)

from brokers import queue_names
from lightning.storage import CONTAINERS
from ops.chaos.installation import Installation
from ops.chaos.queues import EmulatedServiceBus
from ops.emulators.cosmos import CosmosEmulator

RELEASES = Path(__file__).parent

#: Throwaway keys, told in the open: the fixtures hold what they signed and encrypted.
KEYS = {
    "JWT_SIGNING_KEY": "a key for the releases kept for tests",
    "NOTIFY_SECRET": "whsec_YSBrZXkgZm9yIHRoZSByZWxlYXNlcyBrZXB0",
    "LIGHTNING_SECRET_KEY": "another key for the releases kept for tests",
}

#: The files of an installation that are kept of it.
FILES = ("log.db", "queue.db", "spans.db")

#: An export of the installation on SQLite.
EXPORT = "export.tar.xz"

#: What Cosmos DB adds to each document.
ITS_OWN = ("_rid", "_self", "_etag", "_attachments", "_ts")

#: More messages than a queue has of which something is kept.
MOST = 250

_DATABASE = "lightning"


class Place(Protocol):
    """Store and queue of one installation."""

    def environment(self) -> dict[str, str]:
        """Give the settings that lead there."""
        ...

    def installation(self, data: Path, environment: Mapping[str, str], **parts: Any) -> Installation:
        """Make an installation that lives there."""
        ...

    def keep(self, data: Path, folder: Path) -> None:
        """Write down what is there, while nothing runs."""
        ...

    def restore(self, folder: Path, data: Path) -> None:
        """Put back what was kept, before anything runs."""
        ...


class Sqlite:
    """Files in the data directory."""

    def environment(self) -> dict[str, str]:
        """Give nothing: this is what an installation has by itself."""
        return {}

    def installation(self, data: Path, environment: Mapping[str, str], **parts: Any) -> Installation:
        """Make an installation on these files."""
        return Installation(data, {**KEYS, **environment}, **parts)

    def keep(self, data: Path, folder: Path) -> None:
        """Write each file down without its log, compressed."""
        for name in FILES:
            whole = folder / name
            with closing(sqlite3.connect(data / name)) as connection:
                if name == "spans.db":  # tracebacks name the folders of this machine
                    connection.execute("UPDATE spans SET events = '[]'")
                    connection.commit()
                connection.execute("VACUUM INTO ?", [str(whole)])
            (folder / f"{name}.xz").write_bytes(lzma.compress(whole.read_bytes()))
            whole.unlink()

    def restore(self, folder: Path, data: Path) -> None:
        """Put the files back."""
        for name in FILES:
            with lzma.open(folder / f"{name}.xz") as kept, (data / name).open("wb") as file:
                shutil.copyfileobj(kept, file)


@dataclass(frozen=True)
class Azure:
    """An account of Cosmos DB and a namespace of Service Bus, emulated in this process."""

    cosmos: CosmosEmulator
    servicebus: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """Give the settings that lead there."""
        return {
            "LIGHTNING_STORAGE": "cosmos",
            "COSMOS_CONNECTION": self.cosmos.connection_string,
            **self.servicebus,
        }

    def installation(self, data: Path, environment: Mapping[str, str], **parts: Any) -> Installation:
        """Make an installation on these services."""
        return Installation(data, {**KEYS, **self.environment(), **environment}, **parts)

    def keep(self, data: Path, folder: Path) -> None:
        """Write down all documents and messages, as the SDKs give them."""
        del data
        with self._database() as database:
            documents = {name: _documents(database, name) for name in CONTAINERS}
        _write(folder / "documents.json.xz", documents)
        queue = self.servicebus["SERVICEBUS_QUEUE"]
        with self._namespace() as client:
            _write(folder / "messages.json.xz", {each: _messages(client, queue + each) for each in _queues()})

    def restore(self, folder: Path, data: Path) -> None:
        """Create all documents, and send all messages."""
        del data
        with self._database() as database:
            for name, documents in _read(folder / "documents.json.xz").items():
                container = database.create_container(name, PartitionKey("/userID"))
                for document in documents:
                    container.create_item(document)
        with self._namespace() as client:
            for suffix, kept in _read(folder / "messages.json.xz").items():
                _send(client, self.servicebus["SERVICEBUS_QUEUE"] + suffix, kept)

    @contextmanager
    def _database(self) -> Iterator[DatabaseProxy]:
        connection = self.cosmos.connection_string
        with CosmosClient.from_connection_string(connection, enable_endpoint_discovery=False) as client:
            yield client.create_database_if_not_exists(_DATABASE)

    @contextmanager
    def _namespace(self) -> Iterator[ServiceBusClient]:
        with ServiceBusClient.from_connection_string(self.servicebus["SERVICEBUS_CONNECTION"]) as client:
            yield client


@contextmanager
def place(kind: str) -> Iterator[Place]:
    """Open a place of a kind that a release is kept of."""
    with ExitStack() as stack:
        if kind == "sqlite":
            yield Sqlite()
            return
        cosmos = stack.enter_context(CosmosEmulator(ranges=3, lag_seconds=0))
        bus = stack.enter_context(EmulatedServiceBus())
        yield Azure(cosmos, bus.environment())


KINDS = ("sqlite", "azure")


def _queues() -> list[str]:
    """Give what the names of the queues append to that of the default queue."""
    return [name.removeprefix("q") for name in queue_names("q")]


def _documents(database: DatabaseProxy, name: str) -> list[dict[str, Any]]:
    found = database.get_container_client(name).read_all_items()
    own = [{field: value for field, value in each.items() if field not in ITS_OWN} for each in found]
    return sorted(own, key=lambda each: (each["userID"], each["id"]))


def _messages(client: ServiceBusClient, queue: str) -> dict[str, list[dict[str, Any]]]:
    """Look at what is on a queue, and at its dead letters."""
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, sub_queue in (("waiting", None), ("dead", ServiceBusSubQueue.DEAD_LETTER)):
        with client.get_queue_receiver(queue, sub_queue=sub_queue) as receiver:
            found[kind] = list(map(_message, receiver.peek_messages(MOST)))
    return found


def _message(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    later = message.scheduled_enqueue_time_utc
    return {
        "id": message.message_id,
        "body": b"".join(message.body).decode(),
        "dueAt": None if later is None else later.isoformat(),
        "reason": message.dead_letter_reason,
        "error": message.dead_letter_error_description,
    }


def _send(client: ServiceBusClient, queue: str, kept: dict[str, list[dict[str, Any]]]) -> None:
    """Send what was kept of a queue: first what was given up there, which is given up again."""
    with client.get_queue_sender(queue) as sender, client.get_queue_receiver(queue) as receiver:
        for each in kept["dead"]:
            sender.send_messages(_message_of(each))
            [message] = receiver.receive_messages(1, max_wait_time=10)
            receiver.dead_letter_message(message, reason=each["reason"], error_description=each["error"])
        if kept["waiting"]:
            sender.send_messages(list(map(_message_of, kept["waiting"])))


def _message_of(kept: dict[str, Any]) -> ServiceBusMessage:
    due_at = None if kept["dueAt"] is None else datetime.fromisoformat(kept["dueAt"])
    later = due_at if due_at is not None and due_at > datetime.now(UTC) else None
    return ServiceBusMessage(
        kept["body"],
        message_id=kept["id"],
        content_type="application/json",
        scheduled_enqueue_time_utc=later,
    )


def _write(path: Path, value: object) -> None:
    path.write_bytes(lzma.compress(json.dumps(value, indent=1, sort_keys=True).encode()))


def _read(path: Path) -> Any:
    return json.loads(lzma.decompress(path.read_bytes()))
