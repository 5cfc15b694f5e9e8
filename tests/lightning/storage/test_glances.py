"""Glances: a short look is made at once; a long one is left to the reading threads, with the same answer."""

import threading

import pytest

from lightning.storage import Create, SqliteStorage, Where
from lightning.storage.glances import GLANCE_BYTES, GLANCE_INSTRUCTIONS


@pytest.fixture
async def storage(tmp_path):
    store = SqliteStorage(tmp_path / "log.db")
    yield store
    await store.close()


async def write(storage, count, **fields):
    for first in range(0, count, 50):
        documents = [
            {"id": f"e{n:05}", "userID": "anna", "kind": "event", "seq": n, **fields}
            for n in range(first, min(first + 50, count))
        ]
        await storage.batch("events", "anna", [Create(document) for document in documents])


def asked_a_thread() -> bool:
    return any(thread.name.startswith("storage-reader") for thread in threading.enumerate())


async def test_a_short_list_needs_no_thread(storage):
    # Given more than is asked for
    await write(storage, 200)
    # When a page is read
    page = await storage.query("events", "anna", [Where("kind", "=", "event")], order_by="seq", limit=50)
    # Then it is whole, and was read at once
    assert [item.body["seq"] for item in page.items] == list(range(50))
    assert page.next is not None
    assert not asked_a_thread()


async def test_a_list_of_much_text_is_left_to_a_thread(storage):
    # Given few documents that are large
    await write(storage, 3, said="x" * (GLANCE_BYTES // 2))
    # When they are read, then they all come, by a thread
    page = await storage.query("events", "anna", [Where("kind", "=", "event")], order_by="seq")
    assert [item.body["seq"] for item in page.items] == [0, 1, 2]
    assert asked_a_thread()


async def test_a_look_through_much_is_left_to_a_thread(storage):
    # Given many documents of which none is meant
    await write(storage, GLANCE_INSTRUCTIONS // 4)
    # When they are looked through, then there is an answer, by a thread
    where = [Where("kind", "=", "event"), Where("webhookID", "<", "w")]
    assert (await storage.query("events", "anna", where, order_by="seq")).items == []
    assert asked_a_thread()
    # And the next short one is made at once again
    page = await storage.query("events", "anna", [Where("kind", "=", "event")], order_by="seq", limit=1)
    assert len(page.items) == 1
