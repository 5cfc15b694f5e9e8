"""What the SQLite store does when something outside is in its way."""

import asyncio
import fcntl
import os
import resource
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from lightning.errors import Transient
from lightning.storage import Create, SqliteStorage, Where
from lightning.storage.file_lock import FairFileLock
from lightning.storage.paging import page_token
from lightning.storage.readers import READS_PER_USER
from lightning.storage.sqlite_query import select
from lightning.storage.sqlite_schema import create_tables
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


@contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """Let the system refuse this process what makes a file larger than that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_who_asks_whether_it_answers_hears_of_a_full_disk_until_there_is_room(storage, tmp_path):
    # Given a file that cannot grow
    files = sorted(tmp_path.iterdir())
    with no_file_grows_beyond((tmp_path / "log.db-wal").stat().st_size):
        # When a write has failed, then whoever asks is told; reading goes on
        for _ in range(2):
            with pytest.raises(Transient):
                await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])
            with pytest.raises(Transient) as raised:
                await storage.batch("users", "health", [])
            assert raised.value.code == "store_unavailable"
        assert await storage.get("users", "anna", "first") is not None
    # And when there is room again, that is told before anybody has written
    assert await storage.batch("users", "health", []) == []
    await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])
    # and asking has left nothing
    assert sorted(tmp_path.iterdir()) == files


async def test_a_file_that_was_removed_takes_no_more_writes(storage, tmp_path):
    # Given a log whose file was removed under the process
    (tmp_path / "log.db").rename(tmp_path / "elsewhere.db")
    # When it is written to, which nobody would find again
    with pytest.raises(Transient):
        await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])
    # Then putting it back is enough
    (tmp_path / "elsewhere.db").rename(tmp_path / "log.db")
    await storage.batch("users", "anna", [Create({"id": "second", "userID": "anna"})])


@pytest.mark.parametrize("other", [None, b"", b"SQLite format 3\0 of another"])
async def test_a_file_that_was_removed_is_not_looked_for_elsewhere(storage, tmp_path, other):
    # Given a log whose file was removed under the process before it was asked for a list, or replaced
    (tmp_path / "log.db").rename(tmp_path / "elsewhere.db")
    if other is not None:
        (tmp_path / "log.db").write_bytes(other)
    log_before = (tmp_path / "log.db-wal").read_bytes()
    # When it is asked
    with pytest.raises(Transient) as raised:
        await storage.query("users", "anna")
    assert raised.value.code == "store_unavailable"
    # Then it has made no file there, and taken nothing from the one that was
    found = (tmp_path / "log.db").read_bytes() if (tmp_path / "log.db").exists() else None
    assert (found, (tmp_path / "log.db-wal").read_bytes()) == (other, log_before)
    # And putting it back is enough
    (tmp_path / "elsewhere.db").rename(tmp_path / "log.db")
    assert [item.body["id"] for item in (await storage.query("users", "anna")).items] == ["first"]


async def test_a_list_is_read_from_no_other_file(storage, tmp_path):
    # Given a log that was asked for a list, and another one that took its place
    assert len((await storage.query("users", "anna")).items) == 1
    (tmp_path / "log.db").rename(tmp_path / "elsewhere.db")
    shutil.copy(tmp_path / "elsewhere.db", tmp_path / "log.db")
    # When it is asked again, it says so
    with pytest.raises(Transient, match="was replaced"):
        await storage.query("users", "anna")


async def test_queries_take_little_memory_each(storage):
    [(pages,)] = await storage._readers.read(None, lambda it: it.execute("PRAGMA cache_size").fetchall())
    assert pages == -4096


async def test_only_the_owner_reads_the_file(storage, tmp_path):
    assert (tmp_path / "log.db").stat().st_mode & 0o777 == 0o600


async def test_a_file_of_an_older_version_gets_the_fields_that_were_declared_since(tmp_path):
    # Given a file from before a field was declared, with a document that has it
    store = SqliteStorage(tmp_path / "log.db")
    old = {"id": "a", "userID": "anna", "seq": 1, "webhookID": "w"}
    await store.batch("events", "anna", [Create(old), Create({"id": "b", "userID": "anna", "seq": 2})])
    await store.close()
    with sqlite3.connect(tmp_path / "log.db") as database:
        database.execute("DROP INDEX events_userID_webhookID_seq")
        database.execute("ALTER TABLE events DROP COLUMN webhookID")
    database.close()
    # When several processes open it
    stores = await asyncio.gather(*(asyncio.to_thread(SqliteStorage, tmp_path / "log.db") for _ in range(4)))
    # Then the document is found by that field
    for store in stores:
        page = await store.query("events", "anna", [Where("webhookID", "=", "w")], order_by="seq")
        assert [item.body for item in page.items] == [old]
        await store.close()


@pytest.fixture
def outdated(tmp_path):
    """A file that lacks an index."""
    path = tmp_path / "log.db"
    with sqlite3.connect(path) as database:
        create_tables(database)
        database.execute("DROP INDEX events_userID_webhookID_seq")
    database.close()
    return path


def _indexes(path):
    with closing(sqlite3.connect(path)) as database:
        return {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'index'")}


async def test_processes_that_start_together_wait_for_the_one_that_fills_an_index(outdated):
    # Given one that holds the file
    with closing(FairFileLock(outdated, LOCK_SECONDS)) as holder:
        with holder:
            # When another starts
            starting = asyncio.create_task(asyncio.to_thread(SqliteStorage, outdated))
            await _until_taken(f"{outdated}-queue.lock", starting)
            # Then it waits
            assert "events_userID_webhookID_seq" not in _indexes(outdated)
        store = await starting
    # And does what is still to do
    assert "events_userID_webhookID_seq" in _indexes(outdated)
    await store.close()


async def _until_taken(path: str, by: asyncio.Task) -> None:
    """Wait until somebody waits for the lock, which is no time when they did without it."""
    handle = os.open(path, os.O_RDWR)
    try:
        while not by.done():
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(handle, fcntl.LOCK_UN)
            await asyncio.sleep(0.001)
    finally:
        os.close(handle)


async def test_a_process_with_nothing_to_make_waits_for_nobody(storage, tmp_path):
    # Given somebody who took the turn to write and does not go on
    with closing(FairFileLock(tmp_path / "log.db", LOCK_SECONDS)) as holder, holder:
        # When another process starts, it can read
        store = await asyncio.to_thread(SqliteStorage, tmp_path / "log.db")
        assert await store.get("users", "anna", "first") is not None
        await store.close()


async def test_tables_are_made_whole_or_not_at_all(outdated):
    # Given a file in which a later step fails
    with closing(sqlite3.connect(outdated)) as database:
        database.execute("DROP INDEX events_userID_root_seq")
        database.execute("CREATE TABLE events_userID_root_seq (taken)")
    # When it is opened
    with pytest.raises(sqlite3.OperationalError):
        SqliteStorage(outdated)
    # Then nothing of it was made
    assert "events_userID_webhookID_seq" not in _indexes(outdated)


@pytest.mark.parametrize(
    ("given", "fewest"),
    [
        ((), "kind"),
        (("type",), "type"),
        (("state",), "state"),
        (("state", "type"), "state"),
        (("webhookID",), "webhookID"),
        (("conversationID", "type"), "conversationID"),
        (("root", "state"), "root"),
    ],
)
@pytest.mark.parametrize("descending", [True, False])
def test_every_list_of_events_is_read_in_the_order_of_an_index(tmp_path, given, fewest, descending):
    # Given what the log asks for when it lists a user's events
    where = [Where("kind", "=", "event"), Where("seq", ">", 0), *(Where(field, "=", "x") for field in given)]
    sql, values = select("events", "anna", where, "seq", descending=descending, page=None)
    with sqlite3.connect(tmp_path / "log.db") as database:
        create_tables(database)
        # whatever SQLite itself would prefer, such as the index that was made last
        database.execute("DROP INDEX events_userID_kind_seq")
        create_tables(database)
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    database.close()
    # Then it is looked up by the field that finds the fewest, and not sorted: a page costs what it has
    assert (
        plan[0] == f"SEARCH events USING INDEX events_userID_{fewest}_seq (userID=? AND {fewest}=? AND seq>?)"
    )
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


@pytest.mark.parametrize(
    ("container", "given", "order", "index"),
    [
        ("events", {}, "recordedAt", "events_recordedAt (recordedAt>? AND recordedAt<?)"),
        ("events", {}, "deadAt", "events_deadAt (deadAt>? AND deadAt<?)"),
        (
            "events",
            {"kind": "run"},
            "createdAt",
            "events_kind_createdAt (kind=? AND createdAt>? AND createdAt<?)",
        ),
        (
            "events",
            {"kind": "approval", "state": "accepted"},
            "createdAt",
            "events_kind_state_createdAt (kind=? AND state=? AND createdAt>? AND createdAt<?)",
        ),
        ("schedules", {"kind": "schedule"}, "id", "schedules_kind_id (kind=? AND id<?)"),
    ],
)
def test_what_all_users_have_is_read_in_the_order_of_an_index(tmp_path, container, given, order, index):
    # Given what an operator's lists ask for, behind their first page
    where = [Where(field, "=", value) for field, value in given.items()]
    token = page_token({order: "x", "id": "x", "userID": "anna"}, order)
    sql, values = select(container, None, where, order, descending=True, page=token)
    with sqlite3.connect(tmp_path / "log.db") as database:
        create_tables(database)
        plan = [row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    database.close()
    # Then a page costs what it has: only those of one moment are put in order
    assert plan[0] == f"SEARCH {container} USING INDEX {index}"
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


#: A look for these finds nothing, and has to look at every event.
NOWHERE = [Where("kind", "=", "event"), Where("type", "=", "a"), Where("state", "=", "dead")]


def fill(path, events: int) -> None:
    """Make a log in which nothing is of two kinds that there are many of."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(
            "INSERT INTO events (userID, id, etag, body, kind, seq, type, state)"
            " WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?)"
            " SELECT 'anna', x, '', json_object('userID', 'anna', 'id', x, 'seq', x), 'event', x,"
            " iif(x % 2, 'a', 'b'), iif(x % 2, 'done', 'dead') FROM n",
            (events,),
        )


async def test_a_query_that_takes_too_long_says_what_to_do(tmp_path):
    # Given a large log in which nothing is of two kinds that there are many of
    store = SqliteStorage(tmp_path / "log.db", query_seconds=0.0)
    fill(tmp_path / "log.db", 50_000)
    # When it is looked for
    with pytest.raises(Transient, match="ask for less at once") as raised:
        await store.query("events", "anna", NOWHERE, order_by="seq")
    assert raised.value.code == "query_too_long"
    # Then what is found at once is still found
    page = await store.query("events", "anna", [Where("kind", "=", "event")], order_by="seq", limit=1)
    assert len(page.items) == 1
    await store.close()


async def test_a_long_look_does_not_hold_the_loop(storage, tmp_path):
    # Given a large log, and a user whose looks under way do not end before the loop has had its turns
    fill(tmp_path / "log.db", 10_000)
    turns = threading.Event()
    looks = (storage._readers.read("anna", lambda _: turns.wait(10)) for _ in range(READS_PER_USER))
    before = [asyncio.create_task(look) for look in looks]
    # When they look for what is nowhere, which is behind the others
    looking = asyncio.create_task(storage.query("events", "anna", NOWHERE, order_by="seq"))
    for _ in range(20):
        await asyncio.sleep(0)
    # Then the loop has its turns before there is an answer to any of it
    assert not any(look.done() for look in (*before, looking))
    turns.set()
    assert await asyncio.gather(*before) == [True] * READS_PER_USER
    # And it comes to its end
    assert (await looking).items == []


async def test_a_store_that_was_closed_says_so(tmp_path):
    store = SqliteStorage(tmp_path / "log.db")
    await store.close()
    with pytest.raises(Transient):
        await store.query("users", "anna")
