"""What a newer version stored or sent is left alone, and whoever starts the older one is told so."""

import asyncio
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing

import pytest
from azure.cosmos import CosmosClient
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError
from typer.testing import CliRunner

from brokers import SqliteBroker, declare_queues, open_broker, queue_name
from brokers import queue as queue_module
from lightning.errors import InvalidEvent, StoreTooNew
from lightning.settings import for_child
from lightning.storage import SqliteStorage, Upsert
from lightning.storage.version import VERSION
from ops.chaos.installation import Installation, until
from ops.cli import app
from tests.api.conftest import serving
from tests.releases.places import KEYS
from tests.stores import cosmos_store


def written_by_a_newer_one(path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


@pytest.fixture
async def newer(tmp_path):
    """The data directory of a newer version."""
    data = tmp_path / "data"
    storage = SqliteStorage(data / "log.db")
    await storage.close()
    written_by_a_newer_one(data / "log.db")
    return data


@pytest.mark.parametrize("module", ["api.main", "worker.main", "worker.clock", "ops.cli"])
def test_no_process_starts_on_the_file_of_a_newer_version(newer, module):
    # When a process of this version starts there
    environment = {"PATH": "/usr/bin:/bin", "LIGHTNING_DATA": str(newer), "PORT": "0", **KEYS}
    command = (
        "from ops.cli import main; main()" if module == "ops.cli" else f"from {module} import main; main()"
    )
    started = subprocess.run(
        [sys.executable, "-c", command, *(["up"] if module == "ops.cli" else [])],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    # Then it says so in a line that tells what to do, and touches nothing
    assert started.returncode == 1
    said = " ".join(started.stderr.split())
    assert "was written by a newer Lightning " in said
    assert f"(version {VERSION + 1} of what is stored; this one knows {VERSION})" in said
    assert "start that one again, or restore a backup" in said
    assert "Traceback" not in said
    with closing(sqlite3.connect(newer / "log.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)


async def test_nothing_is_asked_of_an_account_that_a_newer_version_wrote_to(cosmos_emulator, tmp_path):
    # Given a database, and the note of a newer version in it
    database = str(uuid.uuid4())
    store = cosmos_store(cosmos_emulator.connection_string, database)
    await store.batch("users", "anna", [Upsert({"id": "a", "userID": "anna"})])
    assert await store.partitions("users") == ["anna"], "the note is nobody's"
    await store.close()
    connection = cosmos_emulator.connection_string
    with CosmosClient.from_connection_string(connection, enable_endpoint_discovery=False) as client:
        users = client.get_database_client(database).get_container_client("the-users")
        [note] = users.execute_item_batch([("read", ("version",))], "lightning-store")
        assert note["resourceBody"]["version"] == VERSION
        users.upsert_item({"id": "version", "userID": "lightning-store", "version": VERSION + 1})
    # When this version opens it, then it is refused, each time
    store = cosmos_store(connection, database)
    for _ in range(2):
        with pytest.raises(StoreTooNew, match="restore a backup"):
            await store.get("users", "anna", "a")
    await store.close()
    # And the health of an ingress says so, so that it is not swapped in
    settings = {"LIGHTNING_STORAGE": "cosmos", "COSMOS_CONNECTION": connection, "COSMOS_DATABASE": database}
    names = {"USER_CONTAINER": "the-users", "REPO_CONTAINER": "the-repos"}
    names |= {"SCHEDULE_CONTAINER": "the-schedules", "EVENT_CONTAINER": "the-events"}
    with serving(tmp_path, **settings, **names) as ingress:
        answer = await asyncio.to_thread(ingress.http.get, "/api/health")
    assert answer.status_code == 503
    assert answer.json()["parts"]["storage"] == {"ready": False, "error": "store_too_new"}


def test_a_queue_of_a_newer_version_is_refused(tmp_path):
    broker = SqliteBroker(tmp_path / "queue.db", middleware=[])
    broker.declare_queue("q")
    broker.enqueue(Message("q", "a", (), {}, {}))
    broker.close()
    written_by_a_newer_one(tmp_path / "queue.db")
    broker = SqliteBroker(tmp_path / "queue.db", middleware=[])
    broker.declare_queue("q")
    with pytest.raises(BrokerConnectionError, match=r"written by a newer Lightning .* or remove the file"):
        broker.enqueue(Message("q", "a", (), {}, {}))
    broker.close()


def test_a_message_of_a_newer_version_is_given_up_with_its_reason_and_its_event_goes_on(tmp_path):
    # Given an event, and a message of a newer version about it
    with Installation(tmp_path / "data", {}) as running, running.user() as client:
        event = client.wait(client.send("user.message", {"content": "hello"}))
        broker = open_broker(running.settings)
        default = running.settings.servicebus_queue
        declare_queues(broker, default)
        asked = {"v": queue_module.MESSAGE_VERSION + 1, "look": {"at": event["id"]}}
        broker.enqueue(Message(queue_name(default, "messenger"), "messenger", (), asked, {}))
        # Then it is given up, and says why
        until(broker.dead_letters, "it is given up")
        [letter] = broker.dead_letters()
        broker.close()
        assert letter.reason == "rejected"
        assert "the message is of version 2, and this Lightning knows only 1" in letter.error
        # And the worker goes on
        assert client.wait(client.send("user.message", {"content": "again"}))["state"] == "done"
        ran = CliRunner(env=for_child(running.settings)).invoke(app, ["deadletters", "list"])
        assert "version 2" in " ".join(ran.stdout.split())


def test_a_message_without_a_version_is_of_the_first():
    kwargs = {"userID": "anna", "eventID": "e", "wake": 0, "sentAt": 1.0}
    assert queue_module.read_wakeup("chat", kwargs) == queue_module.read_wakeup("chat", {"v": 1, **kwargs})
    for version in (2, "1", None):
        with pytest.raises(InvalidEvent, match="the log sends its own"):
            queue_module.read_wakeup("chat", {**kwargs, "v": version})
