"""`make soak`: an hour at 50 events in a second, in which the memory of every process stays flat."""

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from lightning.client import AsyncClient
from ops.bench.gauge import memory_mb
from ops.chaos.installation import PASSWORD, Installation

#: Users who post, one after another.
USERS = 20

#: Between two looks at the memory, in seconds.
LOOK_SECONDS = 5.0

#: All events are over so soon after the last was posted.
DRAIN_SECONDS = 60.0

#: A process may grow by this share from the second quarter to the last, or by so many MB: caches fill.
GROWTH, GROWTH_MB = 0.10, 8.0


@dataclass
class Memory:
    """What each process holds, over time.

    Parameters:
      megabytes: RSS at each look, by process.
      pids: The processes at the first look.
      died: Names of those that were started again.
    """

    pids: Mapping[str, int]
    megabytes: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    died: set[str] = field(default_factory=set[str])

    def look(self, running: Installation) -> None:
        """Look once."""
        for name, first in self.pids.items():
            pid = running.pid(name)
            if pid is None or pid != first:
                self.died.add(name)
            else:
                self.megabytes.setdefault(name, []).append(memory_mb(pid)[0])

    def problems(self) -> list[str]:
        """List those that grew, or died."""
        grown = [
            f"{name} grew from {before:.0f} to {after:.0f} MB"
            for name, looks in self.megabytes.items()
            for before, after in [_quarters(looks)]
            if after > max(before * (1 + GROWTH), before + GROWTH_MB)
        ]
        return [*grown, *(f"{name} died" for name in sorted(self.died))]

    def table(self) -> str:
        """Show the memory at the beginning, in the middle and at the end."""
        lines = [f"{'':<10} {'begin':>7} {'middle':>7} {'end':>7}  RSS in MB"]
        for name, looks in self.megabytes.items():
            shown = [looks[0], looks[len(looks) // 2], looks[-1]]
            lines.append(f"{name:<10} " + " ".join(f"{each:7.1f}" for each in shown))
        return "\n".join(lines)


def _quarters(looks: Sequence[float]) -> tuple[float, float]:
    """Give what is usual in the second quarter, when all is warm, and in the last."""
    size = max(1, len(looks) // 4)
    return median(looks[size : 2 * size] or looks), median(looks[-size:])


async def _post(clients: Sequence[AsyncClient], rate: float, seconds: float) -> int:
    """Post at a steady rate for so long; give the number of events."""
    began = time.monotonic()
    async with asyncio.TaskGroup() as tasks:
        for number in range(int(seconds * rate)):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            kind = "llm.chat" if number % 2 else "user.message"
            tasks.create_task(clients[number % len(clients)].send(kind, {"content": f"message {number}"}))
    return int(seconds * rate)


async def _soak(running: Installation, memory: Memory, *, seconds: float, rate: float) -> int:
    async with AsyncExitStack() as stack:
        clients: list[AsyncClient] = []
        for number in range(USERS):
            await asyncio.to_thread(running.register, f"user-{number}", PASSWORD)
            clients.append(await stack.enter_async_context(AsyncClient(running.url)))
            await clients[-1].log_in(f"user-{number}", PASSWORD)
        posting = asyncio.create_task(_post(clients, rate, seconds))
        while not posting.done():
            memory.look(running)
            await asyncio.wait({posting}, timeout=LOOK_SECONDS)
        async with asyncio.timeout(DRAIN_SECONDS):
            while any([(await client.events(state="accepted", limit=1))["events"] for client in clients]):  # noqa: ASYNC110
                await asyncio.sleep(0.5)
        return posting.result()


def soak(data: Path, *, seconds: float, rate: float) -> tuple[list[str], str]:
    """Run the platform under a steady load.

    Parameters:
      data: An empty directory.
      seconds: How long.
      rate: Events in a second.

    Returns:
      What should not be, and the memory as a table.

    Raises:
      ClientError: An event was not accepted.
      TimeoutError: Not all events are over soon after the last was posted.
    """
    environment = {"LIGHTNING_LOG_LEVEL": "error", "LIGHTNING_LLM": "echo"}
    with Installation(data, environment) as running:
        memory = Memory({name: pid for name in running.names() if (pid := running.pid(name)) is not None})
        posted = asyncio.run(_soak(running, memory, seconds=seconds, rate=rate))
    return memory.problems(), f"{posted} events at {rate:g} in a second\n{memory.table()}"


def main(
    minutes: Annotated[float, typer.Option(help="How long.")] = 60.0,
    rate: Annotated[float, typer.Option(help="Events in a second.")] = 50.0,
) -> None:
    """Post at a steady rate, and see that no process grows or dies and that every event is over."""
    with tempfile.TemporaryDirectory() as folder:
        problems, figures = soak(Path(folder) / "data", seconds=minutes * 60, rate=rate)
    print(figures)
    print("PASSED" if not problems else "FAILED: " + "; ".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    typer.run(main)
