"""A crowd: however many messages of one user wait for a place, others are answered after few looks.

The time is the loop's own (`OwnTime`): what the machine takes for it counts as nothing. What others wait for
behind many events, in seconds, is measured by `python -m ops.bench neighbours`.
"""

import asyncio
import heapq
import itertools
from collections import Counter

import pytest

from actors.admission import Admission
from actors.outcome import Done
from actors.places import Places
from actors.step import Step
from actors.waiting import LOOK_APART_SECONDS, LOOK_SECONDS
from lightning.events import Draft
from lightning.log import Dispatch, EventLog, wakeup
from lightning.storage import SqliteStorage
from tests.memory_queue import Clock, MemoryQueue
from tests.own_time import OwnTime

#: As the settings have it: a user's share of the places, and two threads more than there are places.
PLACES, SHARE, THREADS = 4, 3, 6

CROWD = 400

#: So long a test waits for what must come; a thread that waits for each of the crowd takes longer.
PATIENCE_SECONDS = 12.0


#: What each event takes of a busy process: longer than a thread waits for a place where nothing is known.
WORK_SECONDS = 0.3


class Storage(SqliteStorage):
    """Has the time stand still while its threads are at work."""

    async def batch(self, *what):
        with asyncio.get_running_loop().outside():
            return await super().batch(*what)

    async def batch_on(self, *what):
        with asyncio.get_running_loop().outside():
            return await super().batch_on(*what)

    async def query(self, *what, **how):
        with asyncio.get_running_loop().outside():
            return await super().query(*what, **how)


class Process:
    """A worker over a queue that gives messages out in the order in which they are due."""

    def __init__(self, storage: SqliteStorage):
        self.clock = Clock()
        self.queue = MemoryQueue()
        self.log = EventLog(storage, clock=self.clock)
        self.places = Places(PLACES, SHARE, clock=self.clock, randomness=lambda: 0.5)
        self.looks: Counter[str] = Counter()
        self.gate = asyncio.Event()
        self.work_seconds = 0.0
        dispatch = Dispatch(self.log, self.queue)
        step = Step(self.log, dispatch, {"messenger": self}, owner="me")
        self.admission = Admission(step, self.log, dispatch, {"messenger": self.places})
        self._due = []
        self._order = itertools.count()
        self._working: set[asyncio.Task] = set()

    retries = None

    async def handle(self, event, metadata):
        """Hold whatever anna says until the gate opens; see `Actor.handle`."""
        if event["userID"] == "anna":
            await self.gate.wait()
        await asyncio.sleep(self.work_seconds)
        return Done()

    async def on_dead(self, event, error):
        return []

    async def release(self, event):
        pass

    async def say(self, user: str, count: int) -> list[str]:
        """Accept messages, and announce them."""
        ids = [f"{user}-{next(self._order)}" for _ in range(count)]
        drafts = [Draft(each, "user.message", "test", {"content": each}, "now", {}) for each in ids]
        for start in range(0, count, 40):
            some = drafts[start : start + 40]
            await self.queue.send([wakeup(event) for event in await self.log.append(user, some)])
        return ids

    async def states(self, user: str, ids: list[str]) -> set[str]:
        return {(await self.log.get(user, each))["state"] for each in ids}

    async def work(self, until: float) -> None:
        """Look at all messages that are due up to a moment, as many at a time as there are threads."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for message in self.queue.take():
                    due = self.clock.now + message.delay_seconds
                    heapq.heappush(self._due, (due, next(self._order), message))
                while self._due and self._due[0][0] <= until and len(self._working) < THREADS:
                    due, _, message = heapq.heappop(self._due)
                    self.clock.now = max(self.clock.now, due)
                    self.looks[message.user_id] += 1
                    self._working.add(asyncio.create_task(self.admission.run(message)))
                held = 0 if self.gate.is_set() else self.places._taken["anna"]
                if len(self._working) <= held and not self.queue.sent:
                    break
                done, self._working = await asyncio.wait(self._working, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        self.clock.now = max(self.clock.now, until)

    async def close(self) -> None:
        """Let anna speak, and end."""
        self.gate.set()
        await asyncio.gather(*self._working)
        await self.admission.close()


@pytest.fixture
def play(tmp_path):
    """Give a function that plays a scene with a process, in the loop's own time."""

    async def played(scene):
        store = Storage(tmp_path / "log.db")
        process = Process(store)
        try:
            await scene(process)
        finally:
            await process.close()
            await store.close()

    def play(scene):
        with asyncio.Runner(loop_factory=OwnTime) as runner:
            runner.run(played(scene))

    return play


def test_a_crowd_costs_one_look_each_and_holds_nobody_up(play):
    async def scene(process):
        # Given a user whose messages hold a full share, a crowd of further ones, and somebody behind them
        await process.say("anna", SHARE + CROWD)
        behind = await process.say("bert", 10)
        # When the worker works off what is due now
        await process.work(process.clock.now)
        # Then it has looked once at each, without a thread's time for any of the crowd, and the other is
        # answered
        assert process.looks == {"anna": SHARE + CROWD, "bert": 10}
        assert await process.states("bert", behind) == {"done"}
        # And while the crowd looks again, it is a bounded number of times
        begun = process.clock.now
        for _ in range(10):
            later = await process.say("bert", 2)
            await process.work(process.clock.now + 1.0)
            assert await process.states("bert", later) == {"done"}
        assert process.looks["bert"] == 30
        seconds = process.clock.now - begun - LOOK_SECONDS
        assert process.looks["anna"] - SHARE - CROWD <= seconds / LOOK_APART_SECONDS

    play(scene)


def test_a_busy_process_works_instead_of_putting_a_crowd_aside(play):
    async def scene(process):
        # Given work that takes long because much goes on at a time, as was seen before
        process.work_seconds = WORK_SECONDS
        await process.say("carl", PLACES)
        await process.work(process.clock.now)
        process.looks.clear()
        # And many users, each with a few events
        users = [f"user {n}" for n in range(8)]
        said = {user: await process.say(user, 3) for user in users}
        # When the worker works off what is due now
        await process.work(process.clock.now)
        # Then it has looked once at each: whoever found no place at once had one in a moment
        assert process.looks == dict.fromkeys(users, 3)
        assert [await process.states(user, ids) for user, ids in said.items()] == [{"done"}] * len(users)

    play(scene)
