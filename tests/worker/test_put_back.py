"""A clock that is put back, or forward: nothing waits for the time that was, nobody loses what they hold."""

from pathlib import Path

import pytest

from lightning.log import Claimed, Dispatch, EventLog, Jumps, Later
from tests.memory_queue import Clock, MemoryQueue
from tests.stores import storage_of
from tests.worker.test_sweep import drafts, sent
from worker.put_back import PutBack
from worker.sweep import Sweep

HOUR, DAY = 3600.0, 86_400.0

CLAIM_SECONDS = 15.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def steady():
    return Clock()


@pytest.fixture
async def storage(tmp_path: Path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def log(storage, clock, steady):
    return EventLog(
        storage, sweep_seconds=30, clock=clock, jumps=Jumps(CLAIM_SECONDS, wall=clock, steady=steady)
    )


@pytest.fixture
def queue():
    return MemoryQueue()


@pytest.fixture
def put_back(log, queue, steady):
    return PutBack(log, Dispatch(log, queue), CLAIM_SECONDS, steady=steady)


@pytest.fixture
def passes(clock, steady):
    """Let time pass, on both clocks."""

    def passes(seconds):
        clock.now += seconds
        steady.now += seconds

    return passes


@pytest.mark.parametrize("back", [HOUR, DAY])
async def test_what_waited_when_the_clock_was_put_back_is_announced_and_claimed(
    log, clock, queue, put_back, back
):
    # Given events that wait, one of them put off for a minute, when the clock is put back to the present
    clock.now += back
    await log.append("anna", drafts("a", "b"))
    claimed = await log.claim("anna", "b", 0, "me", CLAIM_SECONDS)
    await log.postpone(claimed, 60, attempts=1, error=None)
    clock.now -= back
    # When that is looked for
    await put_back.round()
    # Then both are announced, with no longer waits than they had
    delays = {each.event_id: each.delay_seconds for each in queue.sent}
    assert delays["a"] == 0.0
    assert 0.0 < delays["b"] <= 60.0
    # And the first is claimed now, the other one in a minute
    assert isinstance(await log.claim("anna", "a", 0, "me", CLAIM_SECONDS), Claimed)
    later = await log.claim("anna", "b", 1, "me", CLAIM_SECONDS)
    assert (type(later), later.at) == (Later, clock.now + 60)
    # And is then
    clock.now += 60
    assert isinstance(await log.claim("anna", "b", 1, "me", CLAIM_SECONDS), Claimed)
    # And neither is announced a second time
    queue.take()
    await put_back.round()
    assert queue.sent == []


@pytest.mark.parametrize("back", [HOUR, DAY])
async def test_the_claim_of_a_dead_worker_is_not_held_for_as_long_as_the_clock_was_put_back(
    log, clock, queue, put_back, passes, back
):
    # Given an event whose worker dies when the clock is put back, and one whose worker lives
    await log.append("anna", drafts("dead", "alive"))
    await log.claim("anna", "dead", 0, "it", CLAIM_SECONDS)
    held = await log.claim("anna", "alive", 0, "other", CLAIM_SECONDS)
    clock.now -= back
    # When whoever lives has had the time to renew their claim
    await put_back.round()
    assert queue.sent == []
    passes(CLAIM_SECONDS / 3)
    await log.renew(held, "other", CLAIM_SECONDS)
    passes(CLAIM_SECONDS)
    await put_back.round()
    # Then only the other event is announced, and claimed
    assert sent(queue) == [("anna", "dead", 0)]
    assert isinstance(await log.claim("anna", "dead", 0, "me", CLAIM_SECONDS), Claimed)


@pytest.mark.parametrize("forward", [HOUR, DAY])
async def test_nobody_takes_what_a_living_worker_holds_when_the_clock_is_put_forward(
    log, clock, queue, passes, forward
):
    # Given a claim that is renewed every five seconds, when the clock is put forward
    await log.append("anna", drafts("a"))
    held = await log.claim("anna", "a", 0, "it", CLAIM_SECONDS)
    clock.now += forward
    sweep = Sweep(log, queue, Dispatch(log, queue))
    # When the clock looks, and a message of it comes to another worker
    assert await sweep.round() == 0
    later = await log.claim("anna", "a", 0, "me", CLAIM_SECONDS)
    # Then it is not theirs
    assert (type(later), later.at) == (Later, clock.now + CLAIM_SECONDS)
    # And it still is whose it was
    passes(CLAIM_SECONDS / 3)
    held = await log.renew(held, "it", CLAIM_SECONDS)
    passes(CLAIM_SECONDS - 1)
    assert isinstance(await log.claim("anna", "a", 0, "me", CLAIM_SECONDS), Later)
    # And when they die, it is announced
    passes(CLAIM_SECONDS)
    assert await sweep.round() == 1
    assert isinstance(await log.claim("anna", "a", 0, "me", CLAIM_SECONDS), Claimed)
