"""The thread that writes to SQLite goes on whatever happens to it, and what it writes stays whole."""

import asyncio
import subprocess
import sys
import threading

import pytest

from lightning.errors import Transient
from lightning.storage.sqlite_file import SqliteFile
from lightning.storage.writer import Writer


@pytest.fixture
async def writer(tmp_path):
    one = Writer(SqliteFile(tmp_path / "log.db"), 200)
    await one.write(lambda connection: connection.execute("CREATE TABLE kept (n)"))
    yield one
    await one.close()


def kept(connection):
    return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


def insert(n):
    return lambda connection: connection.execute("INSERT INTO kept VALUES (?)", (n,))


@pytest.mark.parametrize("undone", [True, False])
async def test_what_shares_a_transaction_without_memory_is_not_written(writer, undone):
    # Given somebody who writes for a while, so that what comes meanwhile shares the next transaction
    begun, released = threading.Event(), threading.Event()

    def while_others_come(_connection):
        begun.set()
        released.wait(10)

    first = asyncio.ensure_future(writer.write(while_others_come))
    assert await asyncio.to_thread(begun.wait, 10)

    def without_memory(connection):
        insert(0)(connection)
        if undone:  # which SQLite does by itself, or not (lang_transaction.html, section 3)
            connection.execute("ROLLBACK")
        raise MemoryError

    jobs = [insert(1), without_memory, insert(2)]
    together = [asyncio.ensure_future(writer.write(each)) for each in jobs]
    # When there is no memory for one of these
    await asyncio.sleep(0)
    released.set()
    await first
    answers = await asyncio.gather(*together, return_exceptions=True)
    # Then none is written, and all are told so
    assert [(type(each), each.code) for each in answers] == [(Transient, "store_unavailable")] * 3
    assert "MemoryError" in str(answers[0])
    assert await writer.write(kept) == []
    # And what comes then is written
    await writer.write(insert(3))
    assert await writer.write(kept) == [3]


async def test_what_a_write_raises_is_its_own_affair(writer):
    def wrong(_connection):
        raise ValueError("wrong")

    answers = await asyncio.gather(
        writer.write(insert(1)), writer.write(wrong), writer.write(insert(2)), return_exceptions=True
    )
    assert isinstance(answers[1], ValueError)
    assert await writer.write(kept) == [1, 2]


#: The bound is the whole process's, and can only be lowered.
WITHOUT_MEMORY = """
import asyncio, sqlite3, sys
from pathlib import Path
from lightning.errors import Transient
from lightning.storage.sqlite_file import SqliteFile
from lightning.storage.writer import Writer

async def main():
    writer = Writer(SqliteFile(Path(sys.argv[1])), 200)
    limited = sqlite3.connect(":memory:")
    try:
        limited.execute("PRAGMA hard_heap_limit=16384").fetchall()
    except MemoryError:
        pass
    for _ in range(2):
        try:
            await asyncio.wait_for(writer.write(lambda connection: None), 20)
        except Transient as error:
            print(error.code)

asyncio.run(main())
"""


def test_a_process_without_memory_is_told_each_time(tmp_path):
    # When SQLite gets no memory, not even to open the file
    command = [sys.executable, "-c", WITHOUT_MEMORY, str(tmp_path / "log.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    # Then whoever writes is told, and so is the next one
    assert done.stdout.split() == ["store_unavailable"] * 2
