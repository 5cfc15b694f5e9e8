"""Every store keeps the promises of the storage port."""

import asyncio
from pathlib import Path

import pytest

from lightning.errors import Conflict, Permanent, PreconditionFailed
from lightning.storage import Create, Delete, Replace, SqliteStorage, Stored, Upsert, Where


@pytest.fixture(params=["sqlite"])
async def storage(request, tmp_path: Path):
    store = SqliteStorage(tmp_path / "log.db")
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
    # Given one document
    [etag] = await storage.batch("users", "anna", [Create(document("a", v=1))])
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
                Delete("a", "stale"),
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


async def test_batch_on_sees_the_pivot_that_it_replaces(storage, tmp_path):
    # Given two connections to one store, as two processes have
    other = SqliteStorage(tmp_path / "log.db")

    def count(pivot):
        if pivot is None:
            return [Create(document("n", value=1))]
        return [Replace(document("n", value=pivot.body["value"] + 1), pivot.etag)]

    # When both count up the same document a hundred times at once
    await asyncio.gather(
        *(store.batch_on("users", "anna", "n", count) for _ in range(100) for store in (storage, other))
    )
    # Then no count was lost
    assert (await storage.get("users", "anna", "n")).body["value"] == 200
    await other.close()


async def test_batch_on_raises_what_build_raises(storage):
    def refuse(_pivot):
        raise LookupError("no")

    with pytest.raises(LookupError):
        await storage.batch_on("users", "anna", "n", refuse)


async def test_an_empty_batch_is_fine(storage):
    assert await storage.batch("users", "anna", []) == []


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


async def test_a_query_names_declared_fields_only(storage):
    with pytest.raises(ValueError, match="declared"):
        await storage.query("events", "anna", [Where("metadata; DROP TABLE events", "=", 1)])


@pytest.mark.parametrize("token", ["", "x", "bm90", "WzFd", "e30="])
async def test_a_foreign_page_token_is_refused(storage, token):
    with pytest.raises(ValueError, match="token"):
        await storage.query("events", "anna", order_by="seq", page=token)
