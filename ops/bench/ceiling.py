"""What the store alone can do: durable inserts in one process, no HTTP, no queue."""

import asyncio
import os
import tempfile
import time
from pathlib import Path

from lightning.events import Draft, now_text
from lightning.ids import new_id
from lightning.log.documents import new_event
from lightning.storage import Create, SqliteStorage
from ops.bench.gauge import Gauge
from ops.bench.plan import Plan, Result, summarise


async def ceiling(plan: Plan) -> Result:
    """Insert events as they are recorded, each in a batch of its own, ``plan.connections`` at a time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "log.db"
        storage = SqliteStorage(path)
        times: list[float] = []
        left = plan.events
        deadline = time.perf_counter() + plan.seconds

        async def one(user: str) -> None:
            nonlocal left
            while left > 0 and (began := time.perf_counter()) < deadline:
                left -= 1
                await storage.batch("events", user, [_insert(user, left)])
                times.append(time.perf_counter() - began)

        await storage.batch("events", "nobody", [_insert("nobody", 0)])
        gauge = Gauge({"store": os.getpid()}, {"log": str(path)})
        before, began = gauge.read(), time.perf_counter()
        await asyncio.gather(*(one(f"user-{number}") for number in range(plan.connections)))
        result = summarise(times, time.perf_counter() - began, gauge.since(before))
        await storage.close()
    return result


def _insert(user: str, seq: int) -> Create:
    now = time.time()
    draft = Draft(
        id=new_id(),
        type="user.message",
        source="lightning.bench",
        metadata={"content": "The quick brown fox jumps over the lazy dog"},
        timestamp=now_text(),
        trace={},
    )
    return Create(dict(new_event(draft, user, seq, now=now, sweep_at=now + 30)))
