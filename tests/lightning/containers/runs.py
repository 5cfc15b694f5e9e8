"""Running a spec to its end in a sandbox."""

import asyncio
from dataclasses import replace

from lightning.containers import Limits, RunSpec, RunStatus
from lightning.containers.sandbox import SandboxRunner

SMALL = Limits(cpu=1, memory_mib=128, pids=32, disk_mib=16, wall_seconds=60)
PATIENCE_SECONDS = 45


async def finish(runner: SandboxRunner, spec: RunSpec) -> tuple[RunStatus, str]:
    """Run to the end, and return how it ended and what it said."""
    await runner.start(spec)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (status := await runner.status(spec.name)).ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    output = (await runner.logs(spec.name, limit=1 << 22)).data.decode()
    await runner.remove(spec.name)
    return status, output


def python(name: str, program: str, **changes) -> RunSpec:
    return replace(RunSpec(name, ["python3", "-c", program], network="none", limits=SMALL), **changes)
