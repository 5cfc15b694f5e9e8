"""Databases, containers and what the SDK reads about them."""

import pytest
from azure.cosmos import PartitionKey

from ops.emulators.cosmos.partition_key import KEY_SPACE, as_key, effective_key
from tests.ops.cosmos.conftest import NAMES, connect, document, refused

USER = PartitionKey("/userID")


@pytest.fixture
def name() -> str:
    return f"m{next(NAMES)}"


def test_databases_are_created_listed_and_deleted(emulator, name):
    with connect(emulator) as client:
        database = client.create_database(name)
        refused(409, client.create_database, name)
        assert name in [listed["id"] for listed in client.list_databases()]
        database.create_container("c", USER)
        client.delete_database(name)
        refused(404, database.read)
        refused(404, database.get_container_client("c").read)


def test_a_container_keeps_what_it_was_created_with(database, name):
    policy = {"includedPaths": [{"path": "/seq/?"}], "excludedPaths": [{"path": "/*"}]}
    unique = {"uniqueKeys": [{"paths": ["/name"]}]}
    container = database.create_container(
        name, USER, indexing_policy=policy, unique_key_policy=unique, default_ttl=-1
    )
    refused(409, database.create_container, name, USER)
    properties = container.read()
    assert properties["partitionKey"] == {"paths": ["/userID"], "kind": "Hash", "version": 2}
    assert properties["indexingPolicy"]["includedPaths"] == policy["includedPaths"]
    assert properties["uniqueKeyPolicy"] == unique
    assert properties["defaultTtl"] == -1
    assert name in [listed["id"] for listed in database.list_containers()]


def test_a_container_that_is_made_anew_is_empty(database, name, emulator):
    # Given a container with a document
    container = database.create_container(name, USER)
    container.create_item(document())

    # When it is deleted and made anew, then who comes finds it empty
    database.delete_container(name)
    refused(404, container.read_item, "one", "ada")
    database.create_container(name, USER)
    with connect(emulator) as client:
        anew = client.get_database_client(database.id).get_container_client(name)
        assert list(anew.read_all_items()) == []

    # And whoever holds the old one's session token is told that there is no such session yet
    assert refused(404, list, container.read_all_items()).sub_status == 1002


def test_only_indexing_and_expiry_can_change(database, name):
    container = database.create_container(name, USER)
    container.create_item(document(seq=1))
    policy = {"includedPaths": [], "excludedPaths": [{"path": "/*"}]}
    database.replace_container(container, USER, indexing_policy=policy, default_ttl=100)
    assert container.read()["defaultTtl"] == 100
    query = container.query_items("SELECT * FROM c ORDER BY c.seq", partition_key="ada")
    refused(400, list, query)
    refused(400, database.replace_container, container, PartitionKey("/other"))


@pytest.mark.parametrize(
    ("key", "options", "named"),
    [
        (PartitionKey(["/a", "/b"], kind="MultiHash"), {}, "MultiHash"),
        (PartitionKey("/a", version=1), {}, "version 2"),
        (USER, {"indexing_policy": {"includedPaths": [{"path": "/a/?"}]}}, "mandatory"),
        (USER, {"indexing_policy": {"includedPaths": [{"path": "/*"}, {"path": "/a"}]}}, "/a"),
        (
            USER,
            {"indexing_policy": {"includedPaths": [{"path": "/*"}], "spatialIndexes": [{"path": "/a/*"}]}},
            "spatialIndexes",
        ),
        (USER, {"indexing_policy": {"includedPaths": [{}]}}, "malformed"),
        (USER, {"unique_key_policy": {"uniqueKeys": ["/a"]}}, "malformed"),
        (USER, {"default_ttl": 0}, "defaultTtl"),
        (USER, {"computed_properties": [{"name": "x", "query": "SELECT VALUE 1 FROM c"}]}, "computed"),
    ],
)
def test_containers_outside_the_subset_are_refused_by_name(database, name, key, options, named):
    error = refused(400, database.create_container, name, key, **options)
    assert named in error.message or named == "MultiHash"


def test_what_the_emulator_has_not_is_refused_by_name(database, container):
    def named(call, *arguments, **options) -> str:
        return refused(400, call, *arguments, **options).message

    assert "change feed" in named(list, container.query_items_change_feed(start_time="Beginning"))
    assert "sprocs" in named(container.scripts.create_stored_procedure, {"id": "s", "body": "x"})
    assert "users" in named(database.create_user, {"id": "u"})
    assert "offers" in named(container.get_throughput)
    assert "queries of colls" in named(list, database.query_containers("SELECT * FROM c"))
    assert "triggers" in named(container.create_item, document(), pre_trigger_include="t")
    assert "partition key" in named(container.create_item, {"id": "x"})


@pytest.mark.parametrize("value", ["ada", "", "ü" * 30, "x" * 300, 0, 1, -1.5, 2**40, True, False, None])
def test_partition_keys_are_placed_as_the_sdk_places_them(value):
    place = USER._get_epk_range_for_partition_key(value).min
    assert f"{effective_key(as_key(value)):032X}" == place
    assert effective_key(as_key(value)) < KEY_SPACE


def test_the_ranges_of_a_container_are_complete(container, emulator, request):
    found = list(container.read_feed_ranges())
    assert len(found) == (3 if "three" in request.node.name else 1)
