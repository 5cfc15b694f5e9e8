"""Every store keeps the promises of the storage port."""

import asyncio
import threading
from contextlib import suppress

import pytest

from lightning.errors import Conflict, Permanent, PreconditionFailed
from lightning.storage import Create, Delete, Page, Replace, Stored, Upsert, Where
from tests.stores import ACCOUNT, STORES, catch_up


def test_a_real_account_is_tried():
    if "azure" not in STORES:
        pytest.skip(f"Azure Cosmos DB: no test of this run asked it, as {ACCOUNT} is not set")


@pytest.fixture
async def storage(open_store):
    store = open_store()
    yield store
    await store.close()


def document(id: str, user: str = "anna", **fields):
    return {"id": id, "userID": user, **fields}


async def test_a_document_is_read_back_as_it_was_written(storage):
    # Given a document with every kind of JSON value
    body = document("a", text='ü"\\', number=1.5, big=2**62, none=None, nested={"list": [1, {"x": True}]})
    # When it is created
    [etag] = await storage.batch("users", "anna", [Create(body)])
    # Then it reads back the same, with the etag that the write gave
    assert await storage.get("users", "anna", "a") == Stored(body, etag)


async def test_what_is_not_there_is_none(storage):
    assert await storage.get("users", "anna", "a") is None


async def test_a_document_is_created_once(storage):
    await storage.batch("users", "anna", [Create(document("a", v=1))])
    with pytest.raises(Conflict) as refused:
        await storage.batch("users", "anna", [Create(document("a", v=2))])
    assert refused.value.pointer == "a"
    assert (await storage.get("users", "anna", "a")).body["v"] == 1


async def test_partitions_and_containers_do_not_see_each_other(storage):
    await storage.batch("users", "anna", [Create(document("a"))])
    assert await storage.get("users", "bert", "a") is None
    assert await storage.get("repos", "anna", "a") is None
    await storage.batch("users", "bert", [Create(document("a", "bert"))])


async def test_a_document_of_another_partition_is_refused(storage):
    with pytest.raises(ValueError, match="partition"):
        await storage.batch("users", "anna", [Create(document("a", "bert"))])


async def test_replace_needs_the_version_that_was_read(storage):
    [first] = await storage.batch("users", "anna", [Create(document("a", v=1))])
    [second] = await storage.batch("users", "anna", [Replace(document("a", v=2), first)])
    with pytest.raises(PreconditionFailed):
        await storage.batch("users", "anna", [Replace(document("a", v=3), first)])
    assert await storage.get("users", "anna", "a") == Stored(document("a", v=2), second)


async def test_an_etag_does_not_come_back_when_the_content_does(storage):
    [first] = await storage.batch("users", "anna", [Create(document("a", v=1))])
    await storage.batch("users", "anna", [Delete("a")])
    await storage.batch("users", "anna", [Create(document("a", v=1))])
    with pytest.raises(PreconditionFailed):
        await storage.batch("users", "anna", [Replace(document("a", v=2), first)])


async def test_replace_of_nothing_fails(storage):
    with pytest.raises(PreconditionFailed):
        await storage.batch("users", "anna", [Replace(document("a"), "etag")])


async def test_a_batch_is_all_or_nothing(storage):
    # Given two documents
    [etag, _] = await storage.batch("users", "anna", [Create(document("a", v=1)), Create(document("e", v=1))])
    # When the last of several operations cannot be done
    with pytest.raises(Conflict):
        await storage.batch(
            "users",
            "anna",
            [
                Replace(document("a", v=2), etag),
                Create(document("b")),
                Upsert(document("c")),
                Create(document("d")),
                Create(document("e", v=2)),
            ],
        )
    # Then none was
    assert await storage.get("users", "anna", "a") == Stored(document("a", v=1), etag)
    assert await storage.get("users", "anna", "b") is None
    assert await storage.get("users", "anna", "c") is None


async def test_a_batch_names_a_document_once(storage):
    with pytest.raises(ValueError, match="twice"):
        await storage.batch("users", "anna", [Upsert(document("a")), Delete("a")])


async def test_a_batch_is_limited(storage):
    many = [Create(document(str(n))) for n in range(101)]
    with pytest.raises(Permanent) as refused:
        await storage.batch("users", "anna", many)
    assert refused.value.code == "output_too_large"
    large = [Create(document(str(n), text="x" * 800_000)) for n in range(3)]
    with pytest.raises(Permanent):
        await storage.batch("users", "anna", large)
    assert await storage.get("users", "anna", "0") is None


async def test_a_failed_batch_does_not_touch_those_that_share_its_transaction(storage):
    await storage.batch("users", "anna", [Create(document("taken"))])
    results = await asyncio.gather(
        *(
            storage.batch(
                "users", "anna", [Create(document(f"n{n}")), Create(document("taken" if n % 2 else f"m{n}"))]
            )
            for n in range(40)
        ),
        return_exceptions=True,
    )
    assert [isinstance(result, Conflict) for result in results] == [bool(n % 2) for n in range(40)]
    for n in range(40):
        assert (await storage.get("users", "anna", f"n{n}") is None) == bool(n % 2)


async def test_batch_on_sees_the_pivot_that_it_replaces(storage, open_store):
    # Given two connections to one store, as two processes have
    other = open_store()

    def count(pivot):
        if pivot is None:
            return [Create(document("n", value=1))]
        return [Replace(document("n", value=pivot.body["value"] + 1), pivot.etag)]

    # When both count up the same document a hundred times at once
    await asyncio.gather(
        *(store.batch_on("users", "anna", "n", count) for _ in range(100) for store in (storage, other))
    )
    # Then no count was lost
    catch_up(storage, other)
    assert (await storage.get("users", "anna", "n")).body["value"] == 200
    await other.close()


async def test_batch_on_raises_what_build_raises(storage):
    def refuse(_pivot):
        raise LookupError("no")

    with pytest.raises(LookupError):
        await storage.batch_on("users", "anna", "n", refuse)


@pytest.mark.parametrize("exists", [True, False])
async def test_batch_on_depends_on_the_pivot_also_when_it_leaves_it_alone(storage, open_store, exists):
    # Given a list that others add to as long as its pivot does not say that it is closed
    if exists:
        await storage.batch("users", "anna", [Create(document("list", closed=False))])
    reading, closed = threading.Event(), threading.Event()

    def add(pivot):
        reading.set()
        closed.wait(0.2)  # a store that lets others write meanwhile gets the time for it
        if pivot is not None and pivot.body["closed"]:
            raise LookupError("closed")
        return [Create(document("entry", kind="entry"))]

    # When somebody else closes it after the pivot was read, and looks at what it has
    async def close() -> list[Stored]:
        other = open_store()
        catch_up(other, storage)
        assert await asyncio.to_thread(reading.wait, 10)
        new = document("list", closed=True)
        while True:
            old = await other.get("users", "anna", "list")
            try:
                await other.batch("users", "anna", [Create(new) if old is None else Replace(new, old.etag)])
            except PreconditionFailed:  # on a slow machine, the list was added to between the two
                continue
            break
        found = await other.query("users", "anna", [Where("kind", "=", "entry")])
        closed.set()
        await other.close()
        return found.items

    closing = asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(close()))
    with suppress(LookupError):
        await storage.batch_on("users", "anna", "list", add)
    # Then nothing was added afterwards
    seen = await closing
    assert (await storage.query("users", "anna", [Where("kind", "=", "entry")])).items == seen


async def test_batch_on_that_leaves_the_pivot_alone_has_room_to_hold_it(storage):
    many = [Create(document(str(n))) for n in range(98)]
    await storage.batch_on("users", "anna", "pivot", lambda _: many)
    assert await storage.get("users", "anna", "pivot") is None
    more = [Create(document(f"m{n}")) for n in range(99)]
    with pytest.raises(Permanent) as refused:
        await storage.batch_on("users", "anna", "pivot", lambda _: more)
    assert refused.value.code == "output_too_large"


async def test_batch_on_that_does_nothing(storage):
    await storage.batch("users", "anna", [Create(document("pivot", v=1))])
    before = await storage.get("users", "anna", "pivot")
    assert await storage.batch_on("users", "anna", "pivot", lambda _: []) == []
    assert await storage.get("users", "anna", "pivot") == before


async def test_an_empty_batch_is_fine(storage):
    assert await storage.batch("users", "anna", []) == []


async def test_deletion_needs_a_document(storage):
    # Given a document, which is deleted whatever its version
    await storage.batch("users", "anna", [Create(document("a"))])
    assert await storage.batch("users", "anna", [Delete("a")]) == [""]
    # When it is deleted once more, with or without a version
    for again in (Delete("a"), Delete("a", "etag")):
        with pytest.raises(PreconditionFailed) as refused:
            await storage.batch("users", "anna", [Create(document("b")), again])
        # Then that is said, and nothing of the batch is done
        assert refused.value.pointer == "a"
        assert await storage.get("users", "anna", "b") is None


@pytest.mark.parametrize("id", ["", "a/b", "a\\b", "a?b", "a#b", "a\nb", "a" * 256])
async def test_an_id_that_not_every_store_takes(storage, id):
    # It is refused to whoever writes,
    for operation in (Create(document(id)), Upsert(document(id)), Replace(document(id), "etag"), Delete(id)):
        with pytest.raises(ValueError, match="is no id"):
            await storage.batch("users", "anna", [Create(document("b")), operation])
        with pytest.raises(ValueError, match="is no id"):
            await storage.batch_on("users", "anna", "b", lambda _, operation=operation: [operation])
    assert await storage.get("users", "anna", "b") is None
    # and whoever reads finds nothing.
    assert await storage.get("users", "anna", id) is None


async def test_an_id_of_any_other_characters(storage):
    body = document("ü <>&%+ \"'{}|^`[]@:;,=$" + "~" * 200)
    await storage.batch("users", "anna", [Create(body)])
    assert (await storage.get("users", "anna", body["id"])).body == body


async def events(storage, user: str, **by_seq):
    operations = [
        Create(document(name, user, kind="event", seq=seq, type="t", state="accepted", sweepAt=100.0 + seq))
        for name, seq in by_seq.items()
    ]
    await storage.batch("events", user, operations)


async def test_a_query_orders_filters_and_pages(storage):
    await events(storage, "anna", c=3, a=1, b=2, d=4)
    await events(storage, "bert", x=2)
    # When pages of one are read to the end
    seen, page = [], None
    while True:
        answer = await storage.query(
            "events", "anna", [Where("seq", ">", 1)], order_by="seq", limit=1, page=page
        )
        seen += [item.body["id"] for item in answer.items]
        page = answer.next
        if page is None:
            break
    # Then each document came once, in order
    assert seen == ["b", "c", "d"]


async def test_a_query_newest_first(storage):
    await events(storage, "anna", a=1, b=2, c=3)
    first = await storage.query("events", "anna", order_by="seq", descending=True, limit=2)
    rest = await storage.query("events", "anna", order_by="seq", descending=True, limit=2, page=first.next)
    assert [item.body["id"] for item in [*first.items, *rest.items]] == ["c", "b", "a"]
    assert rest.next is None


async def test_a_query_over_all_partitions_leaves_out_what_has_no_such_field(storage):
    await events(storage, "anna", a=2)
    await events(storage, "bert", b=1)
    await storage.batch("events", "anna", [Create(document("head", kind="head", seq=2))])
    found = await storage.query("events", None, [Where("sweepAt", "<=", 102.0)], order_by="sweepAt")
    assert [item.body["id"] for item in found.items] == ["b", "a"]


async def test_a_query_with_in(storage):
    await events(storage, "anna", a=1, b=2, c=3)
    found = await storage.query("events", "anna", [Where("seq", "in", (1, 3))], order_by="seq")
    assert [item.body["id"] for item in found.items] == ["a", "c"]


async def test_a_query_with_in_nothing(storage):
    await events(storage, "anna", a=1)
    nothing = [Where("seq", ">", 0), Where("type", "in", ())]
    assert await storage.query("events", "anna", nothing, order_by="seq") == Page([], None)
    assert await storage.query("events", None, nothing, order_by="seq") == Page([], None)


@pytest.mark.parametrize("limit", [0, -1, 1001])
async def test_a_page_has_a_size(storage, limit):
    with pytest.raises(ValueError, match="page"):
        await storage.query("events", "anna", order_by="seq", limit=limit)


async def test_a_query_names_declared_fields_only(storage):
    with pytest.raises(ValueError, match="declared"):
        await storage.query("events", "anna", [Where("metadata; DROP TABLE events", "=", 1)])


@pytest.mark.parametrize("token", ["", "x", "bm90", "WzFd", "e30="])
async def test_a_foreign_page_token_is_refused(storage, token):
    with pytest.raises(ValueError, match="token"):
        await storage.query("events", "anna", order_by="seq", page=token)


async def test_a_page_is_bounded_by_bytes(storage):
    # Given documents, a few of which are more than is read at a time
    text = "x" * 900_000
    for name in "abcdefghi":
        await storage.batch("events", "anna", [Create(document(name, seq=ord(name), text=text))])
    # When they are read, as many as there are
    sizes, seen, page = [], [], None
    while True:
        answer = await storage.query("events", "anna", order_by="seq", limit=100, page=page)
        sizes.append(sum(len(item.body["text"]) for item in answer.items))
        seen += [item.body["id"] for item in answer.items]
        page = answer.next
        if page is None:
            break
    # Then no page has more than 4 MiB and a document, and none is left out
    assert seen == list("abcdefghi")
    assert max(sizes) <= 4 * 1024 * 1024 + len(text)
    assert len(sizes) > 1


async def test_whose_documents_there_are(storage):
    # Given some users with few documents, and one with more than a page of them
    for user in ("zoe", "anna", "bert"):
        await storage.batch("users", user, [Create(document("a", user))])
    for start in range(0, 1_100, 100):
        await storage.batch("users", "carl", [Create(document(f"d{start + n}", "carl")) for n in range(100)])
    await storage.batch("repos", "dora", [Create(document("a", "dora"))])
    # When they are listed, then each is named once, in order, and goes on behind any of them
    found: list[str] = []
    while some := await storage.partitions("users", after=found[-1] if found else "", limit=2):
        assert len(some) <= 2
        found += some
    assert found == ["anna", "bert", "carl", "zoe"]
    assert await storage.partitions("users", after="bertha", limit=1) == ["carl"]
    assert await storage.partitions("schedules") == []
    with pytest.raises(ValueError, match="page of 0"):
        await storage.partitions("users", limit=0)
