"""The process that makes the load: a plan on its standard input, the result on its standard output."""

import asyncio
import os
import sys
import time
from dataclasses import asdict, dataclass, field

import orjson
import uvloop

from ops.bench.ceiling import ceiling
from ops.bench.connection import Connection, request
from ops.bench.first_token import first_token
from ops.bench.gauge import Gauge
from ops.bench.idle_streams import idle_streams
from ops.bench.plan import Plan, Result, summarise
from ops.bench.posts import BenchError, event_id, post
from ops.bench.runs import first_line, runs

#: How often it is asked whether all events are done.
LOOK_SECONDS = 0.05

#: All events must be done so soon after the last was accepted.
DRAIN_SECONDS = 20.0

#: Posts before an accept measurement begins: imports, caches, connections.
WARM_UP = 500

WAIT = 10
PAGE = 200

#: Measurements that open streams.
LIVE = {"first-token": first_token, "idle-streams": idle_streams, "first-line": first_line, "runs": runs}


@dataclass(slots=True)
class _Flood:
    """Posts as fast as answers come, until the plan's bounds."""

    plan: Plan
    posts: list[bytes]
    left: int
    times: list[float] = field(default_factory=list[float])
    ids: list[str] = field(default_factory=list[str])

    async def run(self, connections: list[Connection]) -> float:
        began = time.perf_counter()
        await asyncio.gather(
            *(self._one(each, place, began + self.plan.seconds) for place, each in enumerate(connections))
        )
        return time.perf_counter() - began

    async def _one(self, connection: Connection, place: int, deadline: float) -> None:
        while self.left > 0 and (sent := time.perf_counter()) < deadline:
            self.left -= 1
            # every connection goes through the users, each from another one on
            place += 1
            status, body = await connection.ask(self.posts[place % len(self.posts)])
            self.times.append(time.perf_counter() - sent)
            self.ids.append(event_id(status, body))


def _posts(plan: Plan) -> list[bytes]:
    return [post(plan.type, user, token) for user, token in plan.tokens.items()]


async def accept(plan: Plan, gauge: Gauge, connections: list[Connection]) -> Result:
    """Measure how many events are accepted in a second."""
    posts = _posts(plan)
    await _Flood(plan, posts, WARM_UP).run(connections)
    flood, before = _Flood(plan, posts, plan.events), gauge.read()
    seconds = await flood.run(connections)
    return summarise(flood.times, seconds, gauge.since(before))


async def throughput(plan: Plan, gauge: Gauge, connections: list[Connection]) -> Result:
    """Measure how many events are done in a second, from the first post until all are done."""
    began, before = time.perf_counter(), gauge.read()
    flood = _Flood(plan, _posts(plan), plan.events)
    posted = await flood.run(connections)
    for user in plan.tokens:
        await _drained(connections[0], plan, user)
    seconds = time.perf_counter() - began
    await asyncio.sleep(plan.settle_seconds)
    cost = gauge.since(before)
    done = {each for user in plan.tokens for each in await _done(connections[0], plan, user)}
    if missing := set(flood.ids) - done:
        raise BenchError(f"{len(missing)} of {len(flood.ids)} accepted events ended without being done")
    return summarise(flood.times, seconds, cost, accepted_per_second=len(flood.ids) / posted)


async def _drained(connection: Connection, plan: Plan, user: str) -> None:
    """Wait until no event of the type is accepted any more."""
    deadline = time.perf_counter() + DRAIN_SECONDS
    after = 0
    while True:
        path = f"/api/events?state=accepted&type={plan.type}&limit=1&after={after}"
        page = await connection.read(request("GET", path, plan.tokens[user]))
        if not page["events"]:
            return
        if time.perf_counter() > deadline:
            raise BenchError(f"events are not done {DRAIN_SECONDS:.0f} s after the last was accepted")
        # what is before the first that waits is over for good
        after = page["events"][0]["seq"] - 1
        await asyncio.sleep(LOOK_SECONDS)


async def _done(connection: Connection, plan: Plan, user: str) -> list[str]:
    found: list[str] = []
    after: int | None = 0
    while after is not None:
        path = f"/api/events?state=done&type={plan.type}&limit={PAGE}&after={after}"
        page = await connection.read(request("GET", path, plan.tokens[user]))
        found += [event["id"] for event in page["events"]]
        after = page["next"]
    return found


async def latency(plan: Plan, gauge: Gauge, connections: list[Connection]) -> Result:
    """Measure how long one event takes from its post until its end is seen, nothing else going on."""
    [connection], posts, tokens = connections, _posts(plan), list(plan.tokens.values())
    times: list[float] = []
    began, before = time.perf_counter(), gauge.read()
    for number in range(-plan.warm_up, plan.events):
        if number == 0:
            times, began, before = [], time.perf_counter(), gauge.read()
        sent = time.perf_counter()
        if sent > began + plan.seconds:
            break
        user = number % len(posts)
        event = event_id(*await connection.ask(posts[user]))
        seen = {"state": "accepted"}
        while seen["state"] == "accepted" and time.perf_counter() < sent + DRAIN_SECONDS:
            seen = await connection.read(request("GET", f"/api/events/{event}?wait={WAIT}", tokens[user]))
        times.append(time.perf_counter() - sent)
        if seen["state"] != "done":
            raise BenchError(f"an event is {seen['state']} after {times[-1]:.1f} s: {seen['error']}")
    return summarise(times, time.perf_counter() - began, gauge.since(before))


async def run(plan: Plan) -> Result:
    """Do what a plan says."""
    gauge = Gauge({**plan.processes, "load": os.getpid()}, plan.databases, plan.parents)
    if plan.kind == "ceiling":
        return await ceiling(plan)
    if plan.kind in LIVE:
        return await LIVE[plan.kind](plan, gauge)
    connections = [await Connection.open(plan.url) for _ in range(plan.connections)]
    try:
        return await {"accept": accept, "throughput": throughput, "latency": latency}[plan.kind](
            plan, gauge, connections
        )
    finally:
        for connection in connections:
            connection.close()


def main() -> None:
    """Read the plan, run it, print the result."""
    plan = Plan(**orjson.loads(sys.stdin.buffer.read()))
    try:
        result = uvloop.run(run(plan))
    except (BenchError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(orjson.dumps(asdict(result)).decode())


if __name__ == "__main__":
    main()
