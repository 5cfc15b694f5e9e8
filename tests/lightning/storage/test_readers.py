"""The reading threads: nobody keeps others waiting, whatever they ask for."""

import asyncio
import sqlite3
from threading import Event

import pytest

from lightning.storage.readers import MAX_WAITING, READS_PER_USER, THREADS, Readers, TooManyReads

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"


def connect():
    return sqlite3.connect(":memory:", check_same_thread=False)


@pytest.fixture
async def readers():
    readers = Readers(connect, read_seconds=60)
    yield readers
    await readers.close()


@pytest.fixture
def gate():
    gate = Event()
    yield gate
    gate.set()


def one(connection):
    return connection.execute("SELECT 1").fetchone()[0]


async def begun(asked):
    """Hand what is asked for to the readers."""
    tasks = [asyncio.create_task(each) for each in asked]
    await asyncio.sleep(0)
    return tasks


async def test_one_user_leaves_threads_to_others(readers, gate):
    # Given more long looks of one user than there are threads
    long = await begun(readers.read("anna", lambda _: gate.wait(30)) for _ in range(2 * THREADS))
    # When others look, then they are answered meanwhile
    assert await asyncio.gather(*(readers.read(user, one) for user in ("bert", "carl", None))) == [1, 1, 1]
    assert not any(each.done() for each in long)
    # And the long ones all come to their turn
    gate.set()
    assert await asyncio.gather(*long) == [True] * 2 * THREADS


async def test_a_users_looks_are_taken_in_their_order(readers, gate):
    # Given a user whose places are taken
    long = await begun(readers.read("anna", lambda _: gate.wait(30)) for _ in range(READS_PER_USER - 1))
    # When they ask for more
    order = []
    asked = await begun(readers.read("anna", lambda _, n=n: order.append(n)) for n in range(20))
    await asyncio.gather(*asked)
    # Then it is looked for one after another
    assert order == list(range(20))
    gate.set()
    await asyncio.gather(*long)


async def test_an_endless_look_ends(readers):
    # Given readers who give up soon
    hasty = Readers(connect, read_seconds=0.05)
    # When they are asked for what never ends, by one user again and again
    asked = (hasty.read("anna", lambda connection: connection.execute(ENDLESS).fetchone()) for _ in range(3))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    # Then each is told, and the threads serve on
    assert [type(answer) for answer in answers] == [TimeoutError] * 3
    assert await hasty.read("anna", one) == 1
    await hasty.close()


async def test_who_asks_for_too_much_at_once_is_told(readers, gate):
    long = await begun(
        readers.read("anna", lambda _: gate.wait(30)) for _ in range(READS_PER_USER + MAX_WAITING)
    )
    with pytest.raises(TooManyReads):
        await readers.read("anna", one)
    assert await readers.read("bert", one) == 1
    gate.set()
    await asyncio.gather(*long)
    assert await readers.read("anna", one) == 1


async def test_what_nobody_waits_for_any_more_is_not_looked_for(readers, gate):
    # Given a look that waits, and whose user goes away
    long = await begun(readers.read("anna", lambda _: gate.wait(30)) for _ in range(READS_PER_USER))
    looked = []
    [gone] = await begun([readers.read("anna", looked.append)])
    gone.cancel()
    await asyncio.wait([gone])
    # When it comes to its turn
    gate.set()
    await asyncio.gather(*long)
    assert await readers.read("anna", one) == 1
    # Then nobody looks
    assert looked == []


async def test_what_waits_when_the_store_is_closed_is_told(readers, gate):
    # Given a look that is under way, and one that waits
    long = await begun(readers.read("anna", lambda _: gate.wait(30)) for _ in range(READS_PER_USER))
    [waits] = await begun([readers.read("anna", one)])
    # When the readers are closed
    closing = asyncio.create_task(readers.close())
    # Then only what was begun is finished
    with pytest.raises(sqlite3.ProgrammingError):
        await waits
    gate.set()
    assert await asyncio.gather(*long) == [True] * READS_PER_USER
    await closing
    with pytest.raises(sqlite3.ProgrammingError):
        await readers.read("anna", one)
