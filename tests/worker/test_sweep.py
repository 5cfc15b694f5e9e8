"""The sweep: it finds what was lost, and is silent about what only waits."""

import asyncio
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from brokers.queue import BrokerQueue
from brokers.sqlite import SqliteBroker
from lightning.errors import Transient
from lightning.events import Draft
from lightning.log import Dispatch, EventLog, wakeups
from tests.contract.broker_kits import receive
from tests.memory_queue import Clock, MemoryQueue
from tests.stores import storage_of
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
    store = storage_of(tmp_path)
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


@pytest.mark.parametrize("oldest", [{}, {"messenger": 0.0}, {"messenger": AGE_SECONDS - 60}])
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
    queue.oldest = {"messenger": AGE_SECONDS + 60}
    # When the clock looks, it is silent
    assert await sweep.round() == 0
    assert queue.sent == []
    # And finds the event as soon as the backlog is gone
    queue.oldest = {}
    assert await sweep.round() == 1


async def test_the_front_of_a_backlog_is_no_loss(log, clock, queue, sweep):
    # Given an event that nobody claimed, and a message in the queue that was sent just after it was recorded
    await log.append("anna", drafts("a"))
    clock.now = time.time()
    queue.oldest = {"messenger": AGE_SECONDS - 2}
    # When the clock looks, it is silent: the message may be that of the event
    assert await sweep.round() == 0


async def test_what_was_put_aside_counts_from_its_own_message_on(log, clock, queue, sweep):
    # Given an event that was put aside for a while, whose message then waits in a slow queue
    await log.append("anna", drafts("a"))
    wait = AGE_SECONDS - 100.0
    await log.put_aside("anna", "a", 0, wait)
    clock.now = time.time()
    queue.oldest = {"messenger": 110.0}
    # When the clock looks, it is silent, though the event itself has been due for much longer
    assert await sweep.round() == 0
    # And finds the event when what waits in the queue is younger than its message
    queue.oldest = {"messenger": 90.0}
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "a", 1)]


async def test_what_was_announced_again_counts_from_then_on(log, clock, queue, sweep):
    # Given a lost message that was sent again a while ago, into a queue that became slow
    await log.append("anna", drafts("a"))
    clock.now += AGE_SECONDS - 100.0
    [found] = (await log.overdue.overlooked(10)).items
    await log.overdue.sweep(found)
    clock.now = time.time()
    # When the clock looks, it is silent while older messages wait
    queue.oldest = {"messenger": 110.0}
    assert await sweep.round() == 0
    queue.oldest = {"messenger": 90.0}
    assert await sweep.round() == 1


async def test_what_was_claimed_since_it_was_put_aside_counts_from_its_due_time_on(log, clock, queue, sweep):
    # Given an event that was put aside for long, called before, and then failed
    await log.append("anna", drafts("a"))
    await log.put_aside("anna", "a", 0, 2 * AGE_SECONDS)
    await log.postpone(await log.claim("anna", "a", 1, "worker", 10), 5, attempts=1)
    clock.now = time.time()
    # When its next message was lost, the clock finds it
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "a", 2)]


async def test_putting_aside_does_not_hurry_the_sweep(log, clock):
    # Given an event that was announced again some times
    await log.append("anna", drafts("a"))
    for _ in range(3):
        clock.now += 1000
        [found] = (await log.overdue.overlooked(10)).items
        await log.overdue.sweep(found)
    # When it is put aside
    event = await log.put_aside("anna", "a", 0, 5.0)
    # Then the sweep looks at it as rarely as before
    assert event["sweepAt"] == clock.now + 5.0 + 30 * 2**3


async def test_a_backlog_elsewhere_hides_no_loss(log, clock, queue, sweep):
    # Given lost messages of two actors, and one of them with older messages in its queue
    await log.append("anna", drafts("a"))
    await log.append("anna", [Draft("b", "llm.chat", "test", {"content": "b"}, "now", {})])
    clock.now = time.time()
    queue.oldest = {"chat": AGE_SECONDS + 60, None: AGE_SECONDS + 60}
    # When the clock looks, it is silent about that one only
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "a", 0)]


@pytest.mark.parametrize(("waiting", "lost"), [("messenger bulk", "few-0"), ("messenger", "many-20")])
async def test_a_backlog_of_bulk_hides_no_loss_but_its_own(log, clock, queue, sweep, waiting, lost):
    # Given users with as many events under way as go with everybody's, and one with one more
    await log.append("anna", drafts(*[f"few-{n}" for n in range(20)]))
    await log.append("bert", drafts(*[f"many-{n}" for n in range(21)]))
    clock.now = time.time()
    # When one of the two queues is far behind
    queue.oldest = {waiting: AGE_SECONDS + 60}
    swept = await sweep.round()
    # Then what goes on the other one is lost
    assert lost in {each.event_id for each in queue.sent}
    assert swept == {"messenger bulk": 40, "messenger": 1}[waiting]
    assert {each.bulk for each in queue.sent} == {waiting == "messenger"}


async def test_a_claim_that_ran_out_does_not_wait_for_the_backlog(log, clock, queue, sweep):
    # Given an event whose worker died, one that nobody claimed, and one that is held
    await log.append("anna", drafts("died", "waits", "held"))
    await log.claim("anna", "died", 0, "worker", 10)
    await log.claim("anna", "held", 0, "worker", AGE_SECONDS + 100)
    clock.now = time.time()
    queue.oldest = {"messenger": AGE_SECONDS + 60}
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
    queue.oldest = dict.fromkeys(["messenger", "messenger bulk"], AGE_SECONDS + 60)
    # When the clock looks, it finds that one
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "died", 0)]


async def test_a_backlog_of_large_messages_does_not_hide_a_claim_that_ran_out(log, clock, queue, sweep):
    # Given chats that wait, of more bytes than a round looks at, and behind them one whose worker died
    pages = sweep_module.PAGES_PER_ROUND
    chats = [
        Draft(f"{n:03}", "llm.chat", "test", {"content": "x" * 250_000}, "now", {}) for n in range(18 * pages)
    ]
    for start in range(0, len(chats), 6):
        await log.append("anna", chats[start : start + 6])
    await log.append("anna", drafts("died"))
    await log.claim("anna", "died", 0, "worker", 100)
    clock.now = time.time()
    queue.oldest = dict.fromkeys(["chat", "chat bulk", "messenger bulk"], AGE_SECONDS + 60)
    # When the clock looks, it finds that one
    assert await sweep.round() == 1
    assert sent(queue) == [("anna", "died", 0)]
    # And with further rounds what was lost among those that wait
    await log.append("anna", drafts("lost"))
    clock.now += 31
    queue.oldest = dict.fromkeys(["chat", "chat bulk"], 2 * AGE_SECONDS)
    assert sorted([await sweep.round() for _ in range(3)]) == [0, 0, 1]
    assert sent(queue) == [("anna", "lost", 0)]


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
    queue.oldest = dict.fromkeys(["messenger", "messenger bulk"], AGE_SECONDS + 60)
    # When the clock looks, the round keeps its bound, and the next brings the rest
    assert await sweep.round() == most
    assert await sweep.round() == 20


async def test_a_lost_message_is_sent_again_while_a_long_chat_runs(log, clock, tmp_path):
    # Given a real queue: a worker has held one message since before another was lost
    broker = SqliteBroker(tmp_path / "queue.db", middleware=[])
    queue = BrokerQueue(broker, "q")
    chats = [Draft(each, "llm.chat", "test", {"content": each}, "now", {}) for each in ("long", "lost")]
    [long, _] = await log.append("anna", chats)
    await queue.send(wakeups([long]))
    consumer = broker.consume(queue_name="q", prefetch=1, timeout=100)
    held = await asyncio.to_thread(receive, consumer)
    with closing(sqlite3.connect(tmp_path / "queue.db")) as database, database:
        database.execute("UPDATE messages SET due_at = due_at - 2000 * 1000")
    await log.claim("anna", "long", 0, "worker", AGE_SECONDS + 100)
    clock.now = time.time()
    # When the clock looks
    assert await Sweep(log, queue, Dispatch(log, queue)).round() == 1
    # Then the lost one is there
    consumer.ack(held)
    found = await asyncio.to_thread(receive, consumer)
    assert found.kwargs["eventID"] == "lost"
    consumer.ack(found)
    consumer.close()
    await queue.close()
    broker.close()
