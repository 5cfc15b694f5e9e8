"""How many tasks run through the platform in a second, and how soon one shows its first line."""

import asyncio
import time
from contextlib import AsyncExitStack

import orjson

from ops.bench.connection import Connection, request
from ops.bench.gauge import Gauge
from ops.bench.plan import Plan, Result, spread, summarise
from ops.bench.posts import BenchError, event_id
from ops.bench.stream import Stream

#: The result of a task must be there so soon.
PATIENCE_SECONDS = 60.0

#: Tasks before a measurement begins.
WARM_UP = 3

_SMALL = {"cpu": 1, "memoryMiB": 128, "diskMiB": 16, "pids": 32}


class _Tasks:
    """A user with an open stream, who posts tasks and sees what their runs print and how they end."""

    def __init__(self, connection: Connection, token: str) -> None:
        self._connection, self._token = connection, token
        self.printed: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.failed: list[str] = []
        self.unstreamed = 0  #: tasks whose result was there before any of their lines
        self._news = asyncio.Event()

    @classmethod
    async def open(cls, plan: Plan, stack: AsyncExitStack) -> "_Tasks":
        [(_, token), *_] = plan.tokens.items()
        connection = await Connection.open(plan.url)
        stack.callback(connection.close)
        tasks = cls(connection, token)
        stream = await Stream.open(plan.url, token, tasks.on_frame)
        stack.callback(stream.close)
        return tasks

    def on_frame(self, name: bytes, value: bytes) -> None:
        """Take a frame of the stream."""
        now = time.perf_counter()
        if name == b"log":
            self.printed.setdefault(orjson.loads(value)["task"], now)
        elif name == b"worker.task.result":
            result = orjson.loads(value)
            self.ended[result["cause"]] = now
            if result["cause"] not in self.printed:
                self.printed[result["cause"]] = now
                self.unstreamed += 1
            if result["metadata"]["status"] != "succeeded":
                self.failed.append(result["metadata"]["message"])
            self._news.set()

    async def post(self, user: str) -> str:
        """Post a task for the echo; give its id."""
        event = {
            "timestamp": "2026-01-01T00:00:00Z",
            "source": "lightning.bench",
            "type": "worker.task",
            "userID": user,
            "metadata": {"agent": "echo", "input": "hello", "network": "none", "resources": _SMALL},
        }
        return event_id(
            *await self._connection.ask(request("POST", "/api/events", self._token, orjson.dumps(event)))
        )

    async def over(self, tasks: set[str]) -> None:
        """Wait for the results of tasks.

        Raises:
          BenchError: One did not succeed.
        """
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not tasks <= self.ended.keys():
                self._news.clear()
                await self._news.wait()
        if self.failed:
            raise BenchError(f"a run did not succeed: {self.failed[0]}")


async def first_line(plan: Plan, gauge: Gauge) -> Result:
    """Measure the time from the post of a task to the first line that its run prints, one task at a time."""
    [user, *_] = plan.tokens
    async with AsyncExitStack() as stack:
        tasks = await _Tasks.open(plan, stack)
        times: list[float] = []
        whole: list[float] = []
        began, before = time.perf_counter(), gauge.read()
        for number in range(-WARM_UP, plan.events):
            if number == 0:
                times, whole, tasks.unstreamed = [], [], 0
                began, before = time.perf_counter(), gauge.read()
            sent = time.perf_counter()
            if sent > began + plan.seconds and times:
                break
            task = await tasks.post(user)
            await tasks.over({task})
            times.append(tasks.printed[task] - sent)
            whole.append(tasks.ended[task] - sent)
        result = summarise(times, time.perf_counter() - began, gauge.since(before))
        result.beside["until the result"] = spread(whole)
        if tasks.unstreamed:
            result.figures["runs without live lines"] = tasks.unstreamed
        return result


async def runs(plan: Plan, gauge: Gauge) -> Result:
    """Measure tasks that are all posted at once, until the last has its result."""
    [user, *_] = plan.tokens
    async with AsyncExitStack() as stack:
        tasks = await _Tasks.open(plan, stack)
        for _ in range(WARM_UP):
            await tasks.over({await tasks.post(user)})
        began, before = time.perf_counter(), gauge.read()
        posted = {await tasks.post(user) for _ in range(plan.events)}
        await tasks.over(posted)
        seconds, cost = time.perf_counter() - began, gauge.since(before)
        return summarise([tasks.ended[task] - began for task in posted], seconds, cost)
