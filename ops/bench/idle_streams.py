"""What open streams cost while nothing happens, and whether events still reach them."""

import asyncio
import time
from collections import Counter

import orjson

from ops.bench.connection import Connection
from ops.bench.gauge import Gauge, memory_mb
from ops.bench.plan import Plan, Result, summarise
from ops.bench.posts import BenchError, event_id, post
from ops.bench.stream import Stream

#: Streams that are opened at the same time.
OPENING = 50

#: Posts before the memory is measured, so that what the ingress loads at first use is not counted.
WARM_UP = 300

#: What opening the streams brought about is over after this.
SETTLE_SECONDS = 2.0

ARRIVE_SECONDS = 10.0


class _Arrivals:
    """Counts on how many streams each event has arrived."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._arrived = asyncio.Event()

    def on_frame(self, _name: bytes, value: bytes) -> None:
        """Take a frame of any stream."""
        self._counts[orjson.loads(value)["id"]] += 1
        self._arrived.set()

    async def wait(self, event: str, streams: int) -> None:
        """Wait until an event has arrived on so many streams."""
        async with asyncio.timeout(ARRIVE_SECONDS):
            while self._counts[event] < streams:
                self._arrived.clear()
                await self._arrived.wait()


async def idle_streams(plan: Plan, gauge: Gauge) -> Result:
    """Hold ``plan.connections`` streams open for ``plan.seconds``, then post ``plan.events`` events."""
    pid = plan.processes["ingress"]
    users = list(plan.tokens.items())
    connection = await Connection.open(plan.url)
    for number in range(WARM_UP):
        await _post(connection, *users[number % len(users)])
    connection.close()
    rss_before, pss_before = memory_mb(pid)
    arrivals, began = _Arrivals(), time.perf_counter()
    streams = await _open(plan, arrivals)
    opened = time.perf_counter() - began
    try:
        await asyncio.sleep(SETTLE_SECONDS)
        idle, began = gauge.read(), time.perf_counter()
        await asyncio.sleep(plan.seconds)
        idle, seconds = gauge.since(idle), time.perf_counter() - began
        rss, pss = memory_mb(pid)
        result = await _reach(plan, gauge, arrivals)
        if lost := sum(not stream.is_open for stream in streams):
            raise BenchError(f"{lost} of {len(streams)} streams were closed")
    finally:
        for stream in streams:
            stream.close()
    result.figures.update(
        {
            "streams": len(streams),
            "opened in s": opened,
            "RSS before in MB": rss_before,
            "RSS in MB": rss,
            "PSS before in MB": pss_before,
            "PSS in MB": pss,
            "kB a stream": (rss - rss_before) * 1000 / len(streams),
            "% of a core while idle": idle["cpu ingress"] / seconds * 100,
        }
    )
    return result


async def _open(plan: Plan, arrivals: _Arrivals) -> list[Stream]:
    """Open the streams, the same number for each user."""
    tokens = list(plan.tokens.values())
    streams: list[Stream] = []
    for start in range(0, plan.connections, OPENING):
        group = range(start, min(start + OPENING, plan.connections))
        opening = (Stream.open(plan.url, tokens[n % len(tokens)], arrivals.on_frame) for n in group)
        streams += await asyncio.gather(*opening)
    return streams


async def _reach(plan: Plan, gauge: Gauge, arrivals: _Arrivals) -> Result:
    """Measure how long an event takes from its post until it is on all streams of its user."""
    users, times = list(plan.tokens.items()), list[float]()
    # another connection: the ingress closes one that says nothing for a while
    connection = await Connection.open(plan.url)
    began, before = time.perf_counter(), gauge.read()
    for number in range(plan.events):
        place = number % len(users)
        sent = time.perf_counter()
        event = await _post(connection, *users[place])
        await arrivals.wait(event, len(range(place, plan.connections, len(users))))
        times.append(time.perf_counter() - sent)
    connection.close()
    return summarise(times, time.perf_counter() - began, gauge.since(before))


async def _post(connection: Connection, user: str, token: str) -> str:
    return event_id(*await connection.ask(post("user.message", user, token)))
