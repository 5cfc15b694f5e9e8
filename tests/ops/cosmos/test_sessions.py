"""What reads see: old data without a session token, at least one's own writes with it."""

import pytest
from azure.core import MatchConditions
from azure.cosmos import CosmosClient, PartitionKey
from azure.cosmos.aio import CosmosClient as AsyncCosmosClient

from ops.emulators.cosmos import CosmosEmulator
from tests.ops.cosmos.conftest import connect, document, refused, token_of


@pytest.fixture(scope="module")
def lagging():
    """An account whose newest two writes of a range are never seen without a token."""
    with CosmosEmulator(lag_seconds=3600, lag_writes=2) as emulator, connect(emulator) as client:
        client.create_database("lightning")
        yield emulator


@pytest.fixture
def writer(lagging, request):
    with connect(lagging) as client:
        database = client.get_database_client("lightning")
        yield database.create_container(f"s{abs(hash(request.node.name))}", PartitionKey("/userID"))


@pytest.fixture
def stranger(lagging, writer):
    """The same container through a client that has seen nothing yet."""
    with connect(lagging) as client:
        yield client.get_database_client("lightning").get_container_client(writer.id)


def everything(container, **options) -> list[int]:
    return [
        item["version"] for item in container.query_items("SELECT * FROM c ORDER BY c.version", **options)
    ]


def test_a_stranger_reads_old_data_and_the_writer_its_own(writer, stranger):
    # Given a document that was written four times, and another that was deleted after
    written = [writer.upsert_item(document(version=version)) for version in range(4)]

    # When a client without a token reads, then it misses the newest two writes
    assert stranger.read_item("one", "ada")["version"] == 1

    # And with the token of a write it reads at least that one
    assert stranger.read_item("one", "ada", session_token=token_of(written[2]))["version"] == 2
    assert stranger.read_item("one", "ada", session_token=token_of(written[3]))["version"] == 3

    # And the SDK of the writer passes its token by itself
    assert writer.read_item("one", "ada")["version"] == 3


def test_creations_and_deletions_are_missed_alike(writer, stranger):
    # Given a document that was created and deleted last
    writer.create_item(document("old", version=0))
    created = writer.create_item(document("new", version=1))
    writer.delete_item("old", "ada")

    # When strangers read, then the one is still there and the other not yet
    assert stranger.read_item("old", "ada")["version"] == 0
    refused(404, stranger.read_item, "new", "ada")
    refused(404, writer.read_item, "old", "ada")
    assert writer.read_item("new", "ada") == created


@pytest.mark.parametrize("scope", [{"partition_key": "ada"}, {"enable_cross_partition_query": True}])
def test_queries_are_as_old_as_reads(writer, stranger, scope):
    # Given documents of which two were written last
    for version in range(3):
        writer.create_item(document(str(version), version=version))
    writer.delete_item("0", "ada")
    last = writer.replace_item("1", document("1", version=10))

    # When strangers query, then they see what was before the last two writes
    assert everything(stranger, **scope) == [0, 1, 2]
    assert everything(stranger, session_token=token_of(last), **scope) == [2, 10]


def test_a_token_holds_for_the_session_after_it_was_given_once(writer, stranger):
    # Given a stranger that was told a token for its first read
    written = [writer.upsert_item(document(version=version)) for version in range(3)]
    stranger.read_item("one", "ada", session_token=token_of(written[2]))

    # Then its SDK keeps it
    assert stranger.read_item("one", "ada")["version"] == 2


async def test_a_batch_gives_a_token_that_the_sdk_does_not_keep(lagging, writer):
    # Given a batch by the asynchronous SDK
    async with connect(lagging, AsyncCosmosClient) as client:
        container = client.get_database_client("lightning").get_container_client(writer.id)
        results = await container.execute_item_batch([("create", (document(version=1),))], "ada")

        # When it is read, then only the batch's own token shows it
        with pytest.raises(Exception, match="does not exist"):
            await container.read_item("one", "ada")
        read = await container.read_item("one", "ada", session_token=token_of(results))
        assert read["version"] == 1


def test_a_token_from_the_future_is_not_served(writer, stranger):
    writer.create_item(document())
    error = refused(404, stranger.read_item, "one", "ada", session_token="0:-1#1000")
    assert error.sub_status == 1002


def test_no_token_helps_who_asks_for_less_consistency(lagging, writer):
    for version in range(3):
        writer.upsert_item(document(version=version))
    with connect(lagging, CosmosClient, consistency_level="Eventual") as client:
        container = client.get_database_client("lightning").get_container_client(writer.id)
        assert container.read_item("one", "ada", session_token="0:-1#3")["version"] == 0


def test_more_consistency_than_the_account_has_is_refused(lagging, writer):
    with connect(lagging, CosmosClient, consistency_level="Strong") as client:
        container = client.get_database_client("lightning").get_container_client(writer.id)
        assert "Strong" in refused(400, container.read_item, "one", "ada").message


def test_what_is_old_enough_is_seen_by_everybody(lagging, writer, stranger):
    for version in range(3):
        writer.upsert_item(document(version=version))
    assert stranger.read_item("one", "ada")["version"] == 0
    lagging.clock.advance(3601)
    assert stranger.read_item("one", "ada")["version"] == 2


def test_versions_that_nobody_may_read_are_let_go(lagging, writer):
    # Given a document that is written again and again, and never read
    for version in range(20):
        writer.upsert_item(document(version=version))

    # Then only those that a reader may still be given are kept
    held = lagging.account.databases["lightning"].containers[writer.id].ranges[0]
    version, kept = held.items[1].head, 0
    while version is not None:
        version, kept = version.previous, kept + 1
    assert kept == 1 + lagging.lag.writes


def test_conditions_are_checked_against_the_present(writer, stranger):
    # Given a stranger that has read an old version
    writer.create_item(document(version=0))
    for version in (1, 2):
        writer.upsert_item(document(version=version))
    old = stranger.read_item("one", "ada")
    assert old["version"] == 0

    # When it writes on what it read, then it is refused
    condition = {"etag": old["_etag"], "match_condition": MatchConditions.IfNotModified}
    refused(412, stranger.replace_item, "one", document(version=9), **condition)
    refused(409, stranger.create_item, document())
