"""When the jobs of the clock are due."""

from brokers import SqliteBroker
from brokers.servicebus import ServiceBusBroker
from tests.memory_queue import Clock
from worker.clock import Every


async def test_a_job_that_is_paid_for_is_not_done_each_second():
    # Given the job that looks for dead letters on Service Bus, and a clock that ticks each second
    clock, runs = Clock(), []

    async def job():
        runs.append(clock.now)

    every = Every(ServiceBusBroker.dead_letters_every_seconds, job, clock)
    # When it ticks for half a minute, never quite on time
    for tick in range(30):
        clock.now += 1 + (0.05 if tick % 2 else -0.05)
        await every.round()
    # Then it is done once every ten seconds
    assert len(runs) == 3


async def test_a_job_that_costs_nothing_is_done_in_each_round():
    clock, runs = Clock(), []

    async def job():
        runs.append(clock.now)

    every = Every(SqliteBroker.dead_letters_every_seconds, job, clock)
    for _ in range(5):
        clock.now += 1
        await every.round()
    assert len(runs) == 5


async def test_a_job_that_finds_something_is_done_again_in_the_next_round():
    # Given a job that finds something twice
    clock, runs, found = Clock(), [], [2, 1]

    async def job():
        runs.append(clock.now)
        return found.pop() if found else 0

    every = Every(5, job, clock)
    began = clock.now
    # When the clock ticks each second
    for _ in range(12):
        clock.now += 1
        await every.round()
    # Then it goes on as long as it finds something, and then looks now and then
    assert [run - began for run in runs] == [1, 2, 3, 8]
