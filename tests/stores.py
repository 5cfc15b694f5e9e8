"""Every store that the tests of the storage port, and of what stands on it, run against.

A store that is not there is skipped by name: `tests/contract/test_storage.py` says so.

``pytest --store cosmos`` runs every test that has a data directory (`storage_of`, `settings_of`) against the
emulator of Azure Cosmos DB instead of SQLite: each data directory has a database of its own there. Acceptance
tests choose it by `tests.acceptance.queues`. Tests of SQLite's own file are marked ``sqlite_file``, and left
out where there is none.
"""

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from azure.cosmos import CosmosClient
from azure.cosmos.exceptions import CosmosResourceNotFoundError

from lightning.settings import Settings
from lightning.storage import CONTAINERS, SqliteStorage, Storage, open_storage
from lightning.storage.cosmos import CosmosStorage
from lightning.storage.cosmos_opening import open_cosmos
from ops.emulators.cosmos import CosmosEmulator

#: Names the connection string of a real account, or of Microsoft's emulator.
ACCOUNT = "LIGHTNING_TEST_COSMOS"

#: SQLite, our emulator of Azure Cosmos DB, and the real account.
STORES = ["sqlite", "cosmos", *(["azure"] if os.environ.get(ACCOUNT) else [])]


_EMULATOR = CosmosEmulator(ranges=3)


class _Chosen:
    """Whether tests with a data directory run against the emulator."""

    cosmos = False


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the choice of the store."""
    parser.addoption(
        "--store", choices=["sqlite", "cosmos"], default="sqlite", help="store of each data directory"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Start the emulator where every test needs it."""
    config.addinivalue_line("markers", "sqlite_file: is about the file of SQLite, which no other store has")
    _Chosen.cosmos = config.getoption("store") == "cosmos"
    if _Chosen.cosmos:
        _EMULATOR.start()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is SQLite's own where data directories have no such file."""
    own = [item for item in items if _Chosen.cosmos and item.get_closest_marker("sqlite_file") is not None]
    if own:
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]


def pytest_unconfigure() -> None:
    """Stop the emulator."""
    if _Chosen.cosmos:
        _EMULATOR.stop()


@pytest.fixture(scope="session")
def cosmos_emulator() -> Iterator[CosmosEmulator]:
    """Serve one emulated account; whoever reads without a session token reads what is old."""
    if _Chosen.cosmos:
        yield _EMULATOR
        return
    with _EMULATOR:
        yield _EMULATOR


@contextmanager
def on_cosmos() -> Iterator[None]:
    """Let data directories have their store at the emulator, which runs, while the context lasts."""
    before = _Chosen.cosmos
    _Chosen.cosmos = True
    try:
        yield
    finally:
        _Chosen.cosmos = before


def settings_of(data: Path) -> dict[str, str]:
    """Give the settings that name the store of a data directory."""
    if not _Chosen.cosmos:
        return {}
    return {
        "LIGHTNING_STORAGE": "cosmos",
        "COSMOS_CONNECTION": _EMULATOR.connection_string,
        "COSMOS_DATABASE": hashlib.sha256(str(data.absolute()).encode()).hexdigest(),
    }


def storage_of(data: Path) -> Storage:
    """Open the store of a data directory once more, as another process does."""
    return open_storage(Settings.load({"LIGHTNING_DATA": str(data), **settings_of(data)}))


@pytest.fixture(params=STORES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Storage]]:
    """Give what opens the same store once more, as another process does."""
    if request.param == "sqlite":
        yield lambda: SqliteStorage(tmp_path / "log.db")
        return
    emulated = request.param == "cosmos"
    connection = (
        request.getfixturevalue("cosmos_emulator").connection_string if emulated else os.environ[ACCOUNT]
    )
    database = f"test-{uuid.uuid4()}"
    yield lambda: cosmos_store(connection, database)
    client = CosmosClient.from_connection_string(connection, enable_endpoint_discovery=False)
    with client, suppress(CosmosResourceNotFoundError):  # a test may ask nothing of the account
        client.delete_database(database)


def cosmos_store(connection: str, database: str) -> CosmosStorage:
    """Open a database of an account, which is made where it is missing."""
    return open_cosmos(
        connection=connection,
        endpoint=None,
        identity=None,
        database=database,
        containers={name: f"the-{name}" for name in CONTAINERS},
        create=True,
    )


def catch_up(other: Storage, storage: Storage) -> None:
    """Let another process read at least what was written here, as a message does that comes from here."""
    for container in CONTAINERS:
        if (token := storage.session(container)) is not None:
            other.resume(container, token)
