"""What the SQLite store does when something outside is in its way."""

import asyncio
import fcntl
import os
import sqlite3
import time

import pytest

from lightning.errors import Transient
from lightning.storage import Create, SqliteStorage, Where
from lightning.storage.writer import LOCK_SECONDS


@pytest.fixture
async def storage(tmp_path):
    store = SqliteStorage(tmp_path / "log.db")
    await store.batch("users", "anna", [Create({"id": "first", "userID": "anna"})])
    yield store
    await store.close()


async def test_a_process_that_stands_still_with_the_lock_does_not_hang_others(storage, tmp_path):
    # Given somebody who took the turn to write and does not go on
    handle = os.open(tmp_path / "log.db-turn.lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX)
    started = time.monotonic()
    # When many others write
    answers = await asyncio.gather(
        *(storage.batch("users", "anna", [Create({"id": f"n{n}", "userID": "anna"})]) for n in range(20)),
        return_exceptions=True,
    )
    # Then all of them are told within the time that one waits, not one after another
    assert time.monotonic() - started < 2 * LOCK_SECONDS
    assert {(type(answer), answer.code, answer.retry_after) for answer in answers} == {
        (Transient, "store_unavailable", 1)
    }
    assert await storage.get("users", "anna", "n0") is None
    # And when the lock is free, writing goes on
    os.close(handle)
    await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])


async def test_a_file_that_was_removed_takes_no_more_writes(storage, tmp_path):
    # Given a log whose file was removed under the process
    (tmp_path / "log.db").rename(tmp_path / "elsewhere.db")
    # When it is written to, which nobody would find again
    with pytest.raises(Transient):
        await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])
    # Then putting it back is enough
    (tmp_path / "elsewhere.db").rename(tmp_path / "log.db")
    await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])


async def test_only_the_owner_reads_the_file(storage, tmp_path):
    assert (tmp_path / "log.db").stat().st_mode & 0o777 == 0o600


async def test_a_file_of_an_older_version_gets_the_fields_that_were_declared_since(tmp_path):
    # Given a file from before a field was declared, with a document that has it
    store = SqliteStorage(tmp_path / "log.db")
    old = {"id": "a", "userID": "anna", "seq": 1, "webhookID": "w"}
    await store.batch("events", "anna", [Create(old), Create({"id": "b", "userID": "anna", "seq": 2})])
    await store.close()
    with sqlite3.connect(tmp_path / "log.db") as database:
        database.execute("DROP INDEX events_userID_seq_webhookID")
        database.execute("ALTER TABLE events DROP COLUMN webhookID")
    database.close()
    # When several processes open it
    stores = await asyncio.gather(*(asyncio.to_thread(SqliteStorage, tmp_path / "log.db") for _ in range(4)))
    # Then the document is found by that field
    for store in stores:
        page = await store.query("events", "anna", [Where("webhookID", "=", "w")], order_by="seq")
        assert [item.body for item in page.items] == [old]
        await store.close()
