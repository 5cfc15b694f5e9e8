"""The pace of bulk: few begin at a time, fewer beside others, and none is held up for good."""

import asyncio
from collections.abc import Callable

import pytest

from actors.pace import ALONE, BESIDE_OTHERS, MAX_USERS, PRESENCE_SECONDS, Pace
from tests.memory_queue import Clock


class Crowd:
    """Work that goes on until it is told to end."""

    def __init__(self, pace: Pace):
        self.pace = pace
        self.begun: list[int] = []
        self.ends = [asyncio.Event() for _ in range(3 * ALONE)]
        self.all_begun = asyncio.Event()
        self.at_end: dict[int, Callable[[], object]] = {}
        self.tasks: list[asyncio.Task[None]] = []

    def come(self) -> None:
        self.tasks = [asyncio.create_task(self._work(n)) for n in range(len(self.ends))]

    async def _work(self, number: int) -> None:
        async with self.pace.begin("noisy"):
            self.begun.append(number)
            if len(self.begun) == len(self.ends):
                self.all_begun.set()
            await self.ends[number].wait()
        self.at_end.get(number, lambda: None)()

    async def settle(self) -> list[int]:
        """Give who has begun, when nobody can go on."""
        for _ in range(10):
            await asyncio.sleep(0)
        return self.begun

    async def close(self) -> None:
        for end in self.ends:
            end.set()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def pace(clock):
    # nobody's time is over here, however slow the machine
    return Pace(clock=clock, beginning_seconds=3600)


@pytest.fixture
async def crowd(pace):
    crowd = Crowd(pace)
    yield crowd
    await crowd.close()


async def test_alone_many_begin_and_the_next_when_one_ends(crowd):
    crowd.come()
    assert await crowd.settle() == list(range(ALONE))
    crowd.ends[3].set()
    assert await crowd.settle() == list(range(ALONE + 1))


async def test_beside_others_few_begin(pace, crowd, clock):
    # Given somebody who is there, however long
    with pace.beside("small"):
        crowd.come()
        clock.now += 10 * PRESENCE_SECONDS
        assert await crowd.settle() == list(range(BESIDE_OTHERS))
        # When one of the few ends, one more begins
        crowd.ends[0].set()
        assert await crowd.settle() == list(range(BESIDE_OTHERS + 1))
    # Then as few begin for a while afterwards
    clock.now += PRESENCE_SECONDS / 2
    crowd.ends[1].set()
    assert await crowd.settle() == list(range(BESIDE_OTHERS + 2))
    # And as many as alone when nobody else was seen for so long
    clock.now += PRESENCE_SECONDS
    crowd.ends[2].set()
    assert await crowd.settle() == list(range(ALONE + 3))


async def test_what_goes_on_for_long_gives_its_turn_to_the_next():
    # Given work that never ends
    crowd = Crowd(Pace(beginning_seconds=0.01))
    # When its time to begin is over, again and again
    crowd.come()
    async with asyncio.timeout(30):
        await crowd.all_begun.wait()
    # Then all of it goes on beside each other
    assert crowd.begun == list(range(3 * ALONE))
    await crowd.close()


async def test_whoever_is_stopped_keeps_no_turn(crowd):
    # Given two who wait for their turn
    crowd.come()
    await crowd.settle()
    called, waits = crowd.tasks[ALONE], crowd.tasks[ALONE + 1]
    # When one of them is stopped while it waits, and the other while it is being called
    waits.cancel()
    crowd.at_end[0] = called.cancel
    crowd.ends[0].set()
    # Then the turn is that of the next one
    assert await crowd.settle() == [*range(ALONE), ALONE + 2]
    assert (called.cancelled(), waits.cancelled()) == (True, True)


async def test_who_has_bulk_is_no_other(pace, crowd, clock):
    # Given that somebody's bulk was seen
    async with pace.begin("noisy"):
        pass
    # When what is not bulk of the same user is worked on
    with pace.beside("noisy"):
        crowd.come()
        # Then their bulk is as quick as alone
        assert await crowd.settle() == list(range(ALONE))


async def test_users_whose_bulk_is_long_over_are_forgotten(pace, clock):
    # Given many users with bulk, one after another
    for number in range(3 * MAX_USERS):
        async with pace.begin(f"user-{number}"):
            clock.now += PRESENCE_SECONDS / 10
    # Then few are remembered
    assert len(pace._bulk_until) <= MAX_USERS
