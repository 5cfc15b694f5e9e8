"""The sweep: it finds what was lost, and is silent about what only waits."""

import asyncio
import time
from pathlib import Path

import pytest

from lightning.errors import Transient
from lightning.events import Draft
from lightning.log import Dispatch, EventLog
from lightning.storage import SqliteStorage
from tests.memory_queue import Clock, MemoryQueue
from worker import sweep as sweep_module
from worker.sweep import Sweep

#: How long ago the events of these tests were accepted.
AGE_SECONDS = 1000.0


@pytest.fixture
def clock():
    clock = Clock()
    clock.now -= AGE_SECONDS
    return clock


@pytest.fixture
async def storage(tmp_path: Path):
    store = SqliteStorage(tmp_path / "log.db")
    yield store
    await store.close()


@pytest.fixture
def log(storage, clock):
    return EventLog(storage, sweep_seconds=30, clock=clock)


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def sweep(log, queue):
    return Sweep(log, queue, Dispatch(log, queue))


def drafts(*ids: str) -> list[Draft]:
    return [Draft(each, "user.message", "test", {"content": each}, "now", {}) for each in ids]


def sent(queue) -> list[tuple[str, str, int]]:
    return sorted((each.user_id, each.event_id, each.wake) for each in queue.take())


async def test_what_is_young_is_left_alone(log, clock, queue, sweep):
    await log.append("anna", drafts("a"))
    clock.now += 29
    assert await sweep.round() == 0
    assert queue.sent == []


@pytest.mark.parametrize("oldest", [None, 0.0, AGE_SECONDS - 60])
async def test_a_lost_message_is_sent_again(log, queue, sweep, clock, oldest):
    # Given events of two users that nobody claimed, and a queue in which nothing so old waits
    await log.append("anna", drafts("a"))
    await log.append("bert", drafts("b"))
    clock.now = time.time()
    queue.oldest = oldest
    # When the clock looks
    assert await sweep.round() == 2
    # Then both are announced under their own wake, at once
    assert {each.delay_seconds for each in queue.sent} == {0.0}
    assert sent(queue) == [("anna", "a", 0), ("bert", "b", 0)]


async def test_a_backlog_is_no_loss(log, clock, queue, sweep):
    # Given an event that nobody claimed, and older messages in the queue
    await log.append("anna", drafts("a"))
    clock.now = time.time()
    queue.oldest = AGE_SECONDS + 60
    # When the clock looks, it is silent
    assert await sweep.round() == 0
    assert queue.sent == []
    # And finds the event as soon as the backlog is gone
    queue.oldest = None
    assert await sweep.round() == 1


async def test_a_claim_that_ran_out_does_not_wait_for_the_backlog(log, clock, queue, sweep):
    # Given an event whose worker died, one that nobody claimed, and one that is held
    await log.append("anna", drafts("died", "waits", "held"))
    await log.claim("anna", "died", 0, "worker", 10)
    await log.claim("anna", "held", 0, "worker", AGE_SECONDS + 100)
    clock.now = time.time()
    queue.oldest = AGE_SECONDS + 60
    # When the clock looks
    assert await sweep.round() == 1
    # Then only the first was certainly delivered and lost
    assert sent(queue) == [("anna", "died", 0)]


async def test_an_event_that_was_put_off_is_announced_under_its_wake(log, clock, queue, sweep):
    await log.append("anna", drafts("a"))
    await log.postpone(await log.claim("anna", "a", 0, "worker", 10), 5, attempts=0)
    clock.now = time.time()
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "a", 1)]


async def test_what_has_ended_is_left_alone(log, clock, queue, sweep):
    await log.append("anna", drafts("a", "b"))
    await log.end(await log.claim("anna", "a", 0, "worker", 10), "done")
    await log.end(await log.claim("anna", "b", 0, "worker", 10), "dead")
    clock.now = time.time()
    assert await sweep.round() == 0


async def test_what_was_announced_is_left_alone_for_a_while(log, clock, queue, sweep):
    await log.append("anna", drafts("a"))
    clock.now = time.time()
    assert await sweep.round() == 1
    assert await sweep.round() == 0
    clock.now += 61
    assert await sweep.round() == 1


async def test_a_round_is_bounded(log, clock, queue, sweep):
    # Given more lost events than a round may announce
    most = sweep_module.EVENTS_PER_ROUND
    ids = [f"e{n}" for n in range(most + 20)]
    for start in range(0, len(ids), 50):
        await log.append("anna", drafts(*ids[start : start + 50]))
    clock.now = time.time()
    # When the clock looks twice
    first, second = await sweep.round(), await sweep.round()
    # Then the second round announces the rest, and no event was announced twice
    assert (first, second) == (most, 20)
    assert sorted(each.event_id for each in queue.sent) == sorted(ids)


async def test_a_backlog_does_not_hide_a_claim_that_ran_out(log, clock, queue, sweep):
    # Given more events that wait than a page holds, and behind them one whose worker died
    ids = [f"e{n}" for n in range(sweep_module.EVENTS_PER_ROUND + 20)]
    for start in range(0, len(ids), 50):
        await log.append("anna", drafts(*ids[start : start + 50]))
    await log.append("anna", drafts("died"))
    await log.claim("anna", "died", 0, "worker", 100)
    clock.now = time.time()
    queue.oldest = AGE_SECONDS + 60
    # When the clock looks, it finds that one
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "died", 0)]


async def test_two_clocks_announce_an_event_once(log, storage, clock, queue, sweep):
    # Given lost events, and two clocks
    ids = [f"e{n}" for n in range(20)]
    await log.append("anna", drafts(*ids))
    clock.now = time.time()
    other_log = EventLog(storage, sweep_seconds=30, clock=clock)
    other = Sweep(other_log, queue, Dispatch(other_log, queue))
    # When both look at once
    counts = await asyncio.gather(sweep.round(), other.round())
    # Then each event was announced by one of them
    assert sum(counts) == 20
    assert sorted(each.event_id for each in queue.sent) == sorted(ids)


async def test_a_queue_that_does_not_answer_ends_the_round(log, clock, queue, sweep):
    # Given a lost event and a queue that is away
    await log.append("anna", drafts("a"))
    clock.now = time.time()
    queue.failing = True
    # When the clock looks, it says so
    with pytest.raises(Transient):
        await sweep.round()
    # And has not counted the event as announced
    queue.failing = False
    assert await sweep.round() == 1


async def test_a_round_is_bounded_over_pages_too(log, clock, queue, sweep):
    # Given a first page in which a few workers died, and a second one in which all did
    most = sweep_module.EVENTS_PER_ROUND
    ids = [f"e{n}" for n in range(2 * most)]
    for start in range(0, len(ids), 50):
        await log.append("anna", drafts(*ids[start : start + 50]))
    await asyncio.gather(*(log.claim("anna", each, 0, "worker", 10) for each in ids[:20]))
    await asyncio.gather(*(log.claim("anna", each, 0, "worker", 100) for each in ids[most:]))
    clock.now = time.time()
    queue.oldest = AGE_SECONDS + 60
    # When the clock looks, the round keeps its bound, and the next brings the rest
    assert await sweep.round() == most
    assert await sweep.round() == 20
