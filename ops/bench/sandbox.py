"""What the sandbox alone can do: runs of a small program, no platform around them."""

import asyncio
import tempfile
import time
from pathlib import Path

from lightning.containers import Limits, Runner, RunSpec
from lightning.containers.sandbox import SandboxRunner
from ops.bench.plan import Result, summarise

#: What an echo agent does, as far as its runner sees: an interpreter, an answer.
_PROGRAM = "import json, sys; print(json.dumps({'said': sys.argv[1]}))"

_LOOK_SECONDS = 0.005
_PATIENCE_SECONDS = 60.0


def sandbox(runs: int) -> dict[str, Result]:
    """Measure runs that all start at once, and runs that start one after another."""
    with tempfile.TemporaryDirectory() as folder:
        runner = SandboxRunner(Path(folder) / "runs", images=Path(folder) / "images")
        return {
            f"sandbox, {runs} runs at once": asyncio.run(_measure(runner, runs, at_once=runs)),
            "sandbox, one run after another": asyncio.run(_measure(runner, 10, at_once=1)),
        }


async def _measure(runner: Runner, runs: int, *, at_once: int) -> Result:
    names = iter([f"bench-{at_once}-{number}" for number in range(runs)])
    times: list[float] = []

    async def one_after_another() -> None:
        for name in names:
            began = time.perf_counter()
            await _run(runner, name)
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    async with asyncio.timeout(_PATIENCE_SECONDS):
        await asyncio.gather(*(one_after_another() for _ in range(at_once)))
    seconds = time.perf_counter() - began
    async for run in runner.list():
        await runner.remove(run.name)
    return summarise(times, seconds, {})


async def _run(runner: Runner, name: str) -> None:
    command = ["python3", "-I", "-c", _PROGRAM, name]
    await runner.start(RunSpec(name, command, network="none", limits=Limits(memory_mib=128, disk_mib=16)))
    while not (status := await runner.status(name)).ended:  # noqa: ASYNC110 -- nobody tells of an end
        await asyncio.sleep(_LOOK_SECONDS)
    if status.state != "succeeded":
        raise RuntimeError(status.message)
