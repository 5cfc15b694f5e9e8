"""What the store on Cosmos DB does beyond the contract: when the account refuses, or is not there."""

import asyncio
import uuid

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from lightning.errors import Conflict, Permanent, Transient
from lightning.storage import (
    CONTAINERS,
    Create,
    Delete,
    Replace,
    Upsert,
    Where,
    cosmos,
    cosmos_account,
    cosmos_client,
)
from lightning.storage.cosmos_integers import restored, storable
from lightning.storage.cosmos_opening import open_cosmos, read_connection
from tests.stores import cosmos_store


@pytest.fixture
def database():
    return f"test-{uuid.uuid4()}"


@pytest.fixture
async def storage(cosmos_emulator, database):
    store = cosmos_store(cosmos_emulator.connection_string, database)
    await store.batch("users", "anna", [])
    yield store
    await store.close()


@pytest.fixture
def faults(cosmos_emulator):
    yield cosmos_emulator.faults
    cosmos_emulator.faults.clear()


@pytest.fixture
def present(cosmos_emulator):
    """Let every read see the present, as nobody knows a token of what failed."""
    lag, cosmos_emulator.lag.seconds = cosmos_emulator.lag.seconds, 0.0
    yield
    cosmos_emulator.lag.seconds = lag


def document(id: str, user: str = "anna", **fields):
    return {"id": id, "userID": user, **fields}


def opened(connection: str, database: str, **changes):
    options = {"endpoint": None, "identity": None, "create": False, "containers": {n: n for n in CONTAINERS}}
    return open_cosmos(**{"connection": connection, "database": database, **options, **changes})


@pytest.mark.parametrize("kind", ["throttle", "retry_with"])
async def test_what_was_surely_not_done_is_asked_again(storage, faults, kind):
    # Given an account that refuses five requests in a row for the moment
    fault = faults.add(kind, operations=("batch", "read", "query"), count=5)
    await storage.batch("users", "anna", [Create(document("a"))])
    assert fault.fired == 5
    faults.add(kind, operations=("read",), count=5)
    assert (await storage.get("users", "anna", "a")).body == document("a")
    faults.add(kind, operations=("query",), count=5)
    assert len((await storage.query("users", "anna")).items) == 1


async def test_throttled_for_long_says_when_to_come_back(storage, faults):
    faults.add("throttle", operations=("batch",), retry_after_ms=11_000)
    with pytest.raises(Transient) as refused:
        await storage.batch("users", "anna", [Create(document("a"))])
    assert (refused.value.code, refused.value.retry_after) == ("store_throttled", 11)


async def test_throttled_again_and_again_is_given_up(storage, faults, monkeypatch):
    monkeypatch.setattr(cosmos, "REFUSED_SECONDS", 0.2)
    fault = faults.add("throttle", operations=("read",), retry_after_ms=50)
    with pytest.raises(Transient, match="raise its request units"):
        await storage.get("users", "anna", "a")
    assert 2 <= fault.fired <= 5


@pytest.mark.parametrize("kind", ["unavailable", "internal", "timeout", "drop"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_write_is_not_asked_again_where_it_may_have_been_done(storage, present, faults, kind, when):
    fault = faults.add(kind, operations=("batch",), when=when, count=1)
    with pytest.raises(Transient, match="may or may not") as refused:
        await storage.batch("users", "anna", [Create(document("a"))])
    assert (refused.value.code, fault.fired) == ("store_unavailable", 1)
    # Then it was done, or not, and once at most
    found = (await storage.query("users", "anna")).items
    assert [each.body["id"] for each in found] == (["a"] if when == "after" else [])


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_read_is_asked_again_when_its_connection_breaks(storage, faults, when):
    await storage.batch("users", "anna", [Create(document("a"))])
    faults.add("drop", operations=("read", "query"), when=when, count=2)
    assert (await storage.get("users", "anna", "a")).body == document("a")
    faults.add("drop", operations=("read", "query"), when=when, count=2)
    assert len((await storage.query("users", "anna")).items) == 1


async def test_an_account_that_does_not_answer_is_given_up(storage, faults, monkeypatch):
    monkeypatch.setattr(cosmos, "ANSWER_SECONDS", 0.2)
    faults.add("latency", seconds=1.0)
    for asked in (
        storage.get("users", "anna", "a"),
        storage.batch("users", "anna", [Create(document("a"))]),
        storage.batch_on("users", "anna", "p", lambda _: [Create(document("a"))]),
        storage.query("users", None),
    ):
        with pytest.raises(Transient, match=r"did not answer in 0\.2 s"):
            await asked


async def test_whoever_shares_a_batch_fails_alone(storage):
    # Given batches on one pivot, of which some are refused for what they are, and some by what stands there
    await storage.batch("users", "anna", [Create(document("taken"))])
    deep: dict = {}
    for _ in range(200):
        deep = {"d": deep}

    def raising(_):
        raise LookupError("no")

    builds = [
        lambda _: [Create(document("one"))],
        lambda _: [Create(document("taken"))],
        raising,
        lambda _: [],
        lambda _: [Create(document("deep", body=deep))],
        lambda _: [Create(document("x", "bert"))],
        lambda _: [Create(document("two"))],
        lambda _: [Create(document("one"))],
    ]
    # When they come at once
    results = await asyncio.gather(
        *(storage.batch_on("users", "anna", "pivot", build) for build in builds), return_exceptions=True
    )
    # Then the others are done
    assert [type(result) for result in results] == [
        list, Conflict, LookupError, list, Permanent, ValueError, list, Conflict,
    ]  # fmt: skip
    ids = [each.body["id"] for each in (await storage.query("users", "anna")).items]
    assert ids == ["one", "taken", "two"]


async def test_batches_on_one_pivot_that_wait_share_a_transaction(storage, faults):
    batches = faults.add("latency", operations=("batch",), seconds=0.02)

    def count(pivot):
        n = 0 if pivot is None else pivot.body["n"]
        change = Create(document("p", n=1)) if pivot is None else Replace(document("p", n=n + 1), pivot.etag)
        return [change, Create(document(f"d{n}"))]

    results = await asyncio.gather(*(storage.batch_on("users", "anna", "p", count) for _ in range(150)))
    # Then few transactions did it, each as full as may be
    assert batches.fired <= 4
    assert (await storage.get("users", "anna", "p")).body["n"] == 150
    # And everybody has the etags of what was written
    page = await storage.query("users", "anna", limit=200)
    etags = {each.body["id"]: each.etag for each in page.items}
    assert {etag for _, etag in results} == {etag for name, etag in etags.items() if name != "p"}
    assert results[-1][0] == etags["p"]


async def test_a_pivot_may_go_and_come_within_one_round(storage):
    def make(pivot):
        assert pivot is None
        return [Create(document("p"))]

    def remove(pivot):
        return [Delete("p", pivot.etag)]

    orders = [make, remove, make, remove, make]
    await asyncio.gather(*(storage.batch_on("users", "anna", "p", order) for order in orders))
    assert (await storage.get("users", "anna", "p")).body == document("p")
    await asyncio.gather(*(storage.batch_on("users", "anna", "p", order) for order in orders[1:-1]))
    assert await storage.get("users", "anna", "p") is None


async def test_containers_that_are_missing_are_named(cosmos_emulator, database, storage):
    for name, where in (("nothing", "'nothing'"), (database, "'users'")):
        missing = opened(cosmos_emulator.connection_string, name)
        with pytest.raises(Transient, match=f"no container.*{where}.*deploy"):
            await missing.get("users", "anna", "a")
        await missing.close()


async def test_a_container_with_another_partition_is_refused(cosmos_emulator, database, storage, monkeypatch):
    monkeypatch.setattr(cosmos_account, "PARTITION_PATH", "/tenant")
    other = opened(
        cosmos_emulator.connection_string, database, containers={n: f"the-{n}" for n in CONTAINERS}
    )
    with pytest.raises(Transient, match="not partitioned by /tenant"):
        await other.get("users", "anna", "a")
    await other.close()


async def test_a_wrong_key_is_said_without_the_key(cosmos_emulator, database):
    wrong = "d3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmctd3Jvbmc="
    store = opened(f"AccountEndpoint={cosmos_emulator.endpoint};AccountKey={wrong};", database)
    with pytest.raises(Transient, match="check COSMOS_CONNECTION") as refused:
        await store.get("users", "anna", "a")
    assert refused.value.__context__ is None
    assert wrong not in str(refused.value)
    await store.close()


async def test_an_account_that_is_not_there(unused_tcp_port, database):
    store = opened(f"AccountEndpoint=http://127.0.0.1:{unused_tcp_port}/;AccountKey=a2V5;", database)
    with pytest.raises(Transient, match="does not answer"):
        await store.batch("users", "anna", [])
    await store.close()


@pytest.mark.parametrize("text", ["", "AccountEndpoint=http://x/", "AccountKey=a2V5", "x;y=z"])
def test_a_connection_string_that_is_none(text, database):
    with pytest.raises(ValueError, match="has no Account"):
        opened(text, database)


async def test_reads_see_what_a_message_comes_from_and_a_token_of_the_future_is_forgotten(
    cosmos_emulator, database, storage
):
    await storage.batch("users", "anna", [Upsert(document("a", v=1))])
    # Given a process that reads as old as it may
    other = cosmos_store(cosmos_emulator.connection_string, database)
    for _ in range(500):
        if (await other.query("users", "anna")).items:
            break
        await asyncio.sleep(0.02)
    await storage.batch("users", "anna", [Upsert(document("a", v=2)), Upsert(document("b"))])
    assert (await other.get("users", "anna", "a")).body == document("a", v=1)
    assert [each.body["id"] for each in (await other.query("users", "anna")).items] == ["a"]
    # When a message from here comes
    other.resume("users", storage.session("users"))
    assert (await other.get("users", "anna", "a")).body == document("a", v=2)
    # When a token comes that the account never gave, as after it was restored
    held = other.session("users")
    other.resume("users", ",".join(f"{n}:-1#999999" for n in range(3)))
    with pytest.raises(Transient, match="is behind"):
        await other.get("users", "anna", "a")
    # Then it is in nobody's way for ever
    assert other.session("users") != held
    other.resume("users", held)
    assert (await other.get("users", "anna", "a")).body == document("a", v=2)
    await other.close()


async def test_that_there_is_nothing_is_certain(cosmos_emulator, database, storage):
    # Given a process that has heard nothing of a document that another has just written
    other = cosmos_store(cosmos_emulator.connection_string, database)
    await other.batch("users", "zoe", [])
    await storage.batch("users", "anna", [Create(document("a"))])
    # Then it finds it all the same
    assert (await other.get("users", "anna", "a")).body == document("a")
    assert await other.get("users", "anna", "b") is None
    await other.close()


@pytest.fixture
async def measured(cosmos_emulator, database, monkeypatch):
    """Open a store; `told` gives the metric of all that are opened, and `asked` how often they asked what."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(cosmos, "get_meter", provider.get_meter)
    store = cosmos_store(cosmos_emulator.connection_string, database)

    def told():
        [metric] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
        return metric

    def asked() -> dict[str, int]:
        points = told().data.data_points
        return {point.attributes["db.operation.name"]: point.count for point in points}

    store.told, store.asked = told, asked
    yield store
    await store.close()
    provider.shutdown()


async def test_what_was_not_there_is_looked_for_where_that_is_certain(
    cosmos_emulator, database, measured, monkeypatch
):
    # Given as few documents that are remembered as can be, and two that were not there
    monkeypatch.setattr(cosmos, "MAX_ABSENT", 1)
    assert await measured.get("users", "anna", "forgotten") is None
    assert await measured.get("users", "anna", "a") is None
    assert measured.asked() == {"read_item": 2, "read_batch": 2}
    # Then the last one is not looked for by a point read, which cannot be certain, until it is there
    assert await measured.get("users", "anna", "a") is None
    other = cosmos_store(cosmos_emulator.connection_string, database)
    await other.batch("users", "anna", [Create(document("a"))])
    await other.close()
    assert (await measured.get("users", "anna", "a")).body == document("a")
    assert measured.asked() == {"read_item": 2, "read_batch": 4, "execute_batch": 1}
    # And then by nothing else, as what was forgotten
    assert (await measured.get("users", "anna", "a")).body == document("a")
    assert await measured.get("users", "anna", "forgotten") is None
    assert measured.asked() == {"read_item": 4, "read_batch": 5, "execute_batch": 1}


async def test_the_sdk_does_nothing_besides(cosmos_emulator):
    # Of what the SDK does with a request there is what adds headers, signs and sends it, and our own
    client = cosmos_client.open_client(*read_connection(cosmos_emulator.connection_string))
    policies = client.client_connection.pipeline_client._pipeline._impl_policies
    names = [type(getattr(each, "_policy", each)).__name__ for each in policies]
    assert names == ["HeadersPolicy", "CosmosUserAgentPolicy", "_Once", "CustomHookPolicy"]
    await client.close()


async def test_request_units_are_a_metric(measured):
    await measured.batch("users", "anna", [Create(document("a"))])
    await measured.get("users", "anna", "a")
    await measured.get("users", "anna", "b")
    await measured.query("users", None)
    metric = measured.told()
    assert (metric.name, metric.unit) == ("azure.cosmosdb.client.operation.request_charge", "{request_unit}")
    assert measured.asked() == {"execute_batch": 1, "read_item": 2, "read_batch": 1, "query_items": 3}
    assert all(point.sum > 0 for point in metric.data.data_points)


async def test_integers_beyond_2_to_53_keep_their_digits(storage):
    body = document("a", n=[2**53 + 1, {"/~m": -(2**63)}, 2**64 - 1, 1], exact=2**53 - 1, yes=True)
    before = repr(body)
    await storage.batch("users", "anna", [Upsert(body)])
    assert repr(body) == before
    assert repr((await storage.get("users", "anna", "a")).body) == before
    assert repr(restored(storable(body))) == before
    assert storable(document("a", n=1.5)) == document("a", n=1.5)


async def test_a_page_goes_on_in_another_process_and_beyond_what_one_answer_holds(
    cosmos_emulator, database, storage
):
    # Given more than one answer of the account holds (4 MB)
    for n in range(0, 12, 2):
        large = [
            Create(document(f"{m:02}", "anna" if n % 4 else "bert", text="x" * 900_000)) for m in (n, n + 1)
        ]
        await storage.batch("users", large[0].body["userID"], large)
    first = await storage.query("users", None, limit=9)
    # When another process reads on, a page at a time, each as large as pages may be
    other = cosmos_store(cosmos_emulator.connection_string, database)
    other.resume("users", storage.session("users"))
    found, page = [*first.items], first.next
    while page is not None:
        answer = await other.query("users", None, limit=9, page=page)
        assert 1 <= len(answer.items) <= 5
        found, page = [*found, *answer.items], answer.next
    await other.close()
    # Then each came once, in order
    assert [each.body["id"] for each in found] == [f"{n:02}" for n in range(12)]


async def test_tenants_never_meet_whatever_a_partition_is_called(storage):
    names = ["", " ", '"', "a'b", "ü", "null", "@p0", "a" * 200]
    for name in names:
        await storage.batch("users", name, [Create(document("a", name, kind="k"))])
    for name in names:
        found = await storage.query("users", name, [Where("kind", "=", "k")])
        assert [each.body["userID"] for each in found.items] == [name]
        assert (await storage.get("users", name, "a")).body["userID"] == name


async def test_closing_twice_and_without_use(cosmos_emulator, database):
    store = cosmos_store(cosmos_emulator.connection_string, database)
    await store.close()
    await store.batch("users", "anna", [])
    await store.close()
    await store.close()


async def test_opening_at_once_makes_one_client(cosmos_emulator, database):
    stores = [cosmos_store(cosmos_emulator.connection_string, database) for _ in range(3)]
    await asyncio.gather(*(store.get("users", "anna", str(n)) for store in stores for n in range(5)))
    for store in stores:
        await store.close()


async def test_events_that_are_over_expire_where_that_is_asked_for(cosmos_emulator, database):
    # Given a store that keeps what is over for a day, and one that keeps everything
    containers = {name: f"the-{name}" for name in CONTAINERS}
    options = {"create": True, "containers": containers}
    expiring = opened(cosmos_emulator.connection_string, database, expire_seconds=86_400, **options)
    keeping = opened(cosmos_emulator.connection_string, f"{database}-kept", **options)
    for store in (expiring, keeping):
        bodies = [
            document(state, kind="event", state=state) for state in ("accepted", "done", "dead", "cancelled")
        ]
        bodies.append(document("head", kind="head", state="done"))
        etags = await store.batch("events", "anna", [Create(body) for body in bodies])
        # And one that was over, and is accepted again
        await store.batch("events", "anna", [Replace({**bodies[2], "state": "accepted"}, etags[2])])
        assert (await store.get("events", "anna", "done")).body == bodies[1]
    # When a day goes by
    cosmos_emulator.clock.advance(86_401)
    # Then
    left = [each.body["id"] for each in (await expiring.query("events", "anna")).items]
    assert left == ["accepted", "dead", "head"]
    assert len((await keeping.query("events", "anna")).items) == 5
    await expiring.close()
    await keeping.close()
