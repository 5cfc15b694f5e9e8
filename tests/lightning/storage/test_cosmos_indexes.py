"""Containers that an older version made get the indexes that this one needs; what is theirs stays."""

import asyncio
import uuid

import pytest
from azure.cosmos import CosmosClient, PartitionKey
from structlog.testing import capture_logs

from lightning.errors import LightningError
from lightning.storage import CONTAINERS, Create, Where
from lightning.storage.cosmos_indexes import completed, indexing_policy
from lightning.storage.cosmos_opening import open_cosmos

NAMES = {name: f"the-{name}" for name in CONTAINERS}
OLD = {
    "indexingMode": "consistent",
    "automatic": True,
    "includedPaths": [{"path": "/userID/?"}, {"path": "/kind/?"}, {"path": "/theirs/?"}],
    "excludedPaths": [{"path": "/*"}, {"path": '/"_etag"/?'}],
    "compositeIndexes": [
        [{"path": "/id", "order": "ascending"}, {"path": "/userID", "order": "ascending"}],
        [{"path": "/theirs", "order": "descending"}, {"path": "/id", "order": "ascending"}],
    ],
}


@pytest.fixture
def database(cosmos_emulator):
    """Give a database whose containers an older version made."""
    connection = cosmos_emulator.connection_string
    with CosmosClient.from_connection_string(connection, enable_endpoint_discovery=False) as client:
        database = client.create_database(f"test-{uuid.uuid4()}")
        for name in NAMES.values():
            database.create_container(name, PartitionKey("/userID"), indexing_policy=OLD, default_ttl=-1)
        yield database
        client.delete_database(database)


def opened(cosmos_emulator, database, *, create: bool):
    return open_cosmos(
        connection=cosmos_emulator.connection_string,
        endpoint=None,
        identity=None,
        database=database.id,
        containers=NAMES,
        create=create,
    )


def properties(database, name):
    return database.get_container_client(NAMES[name]).read()


async def due(storage):
    await storage.batch("schedules", "anna", [Create({"id": "a", "userID": "anna", "dueAt": 1.5})])
    return (await storage.query("schedules", None, [Where("dueAt", "<=", 2.0)], order_by="dueAt")).items


async def test_what_an_older_version_made_gets_what_it_lacks_and_keeps_what_it_has(cosmos_emulator, database):
    # When processes that start together find the containers
    stores = [opened(cosmos_emulator, database, create=True) for _ in range(2)]
    await asyncio.gather(*(store.batch("users", "anna", []) for store in stores))
    # Then what needs the new indexes is answered
    assert [each.body["id"] for each in await due(stores[0])] == ["a"]
    for store in stores:
        await store.close()
    # And nothing else has changed
    for name, container in CONTAINERS.items():
        found = properties(database, name)
        policy = found["indexingPolicy"]
        assert completed(policy, container) is None
        assert policy["includedPaths"][:3] == OLD["includedPaths"]
        assert policy["compositeIndexes"][:2] == OLD["compositeIndexes"]
        assert (found["defaultTtl"], found["partitionKey"]["paths"]) == (-1, ["/userID"])


async def test_what_was_deployed_is_left_alone_and_its_lack_is_told(cosmos_emulator, database):
    store = opened(cosmos_emulator, database, create=False)
    before = properties(database, "schedules")
    with capture_logs() as logs:
        await store.batch("users", "anna", [])
    lacking = {log["container"] for log in logs if log["event"] == "cosmos_indexes_missing"}
    assert lacking == {NAMES[name] for name in CONTAINERS if completed(OLD, CONTAINERS[name])}
    assert properties(database, "schedules") == before
    with pytest.raises(LightningError):
        await due(store)
    await store.close()


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_lacks_nothing_stays_as_it_is(name):
    policy = indexing_policy(CONTAINERS[name])
    assert completed(policy, CONTAINERS[name]) is None
    # as an account gives it back, or with all paths in it
    groups = [
        [{**entry, "order": entry["order"].title()} for entry in group]
        for group in policy["compositeIndexes"]
    ]
    everything = {"includedPaths": [{"path": "/*"}], "compositeIndexes": groups}
    assert completed(everything, CONTAINERS[name]) is None
