"""A container of the emulator, by itself."""

import asyncio
import threading
from pathlib import PurePosixPath

from lightning.containers.sandbox import SandboxRunner
from ops.emulators.arm.container import Container
from ops.emulators.arm.definition import Definition
from ops.emulators.arm.machine import Machine
from tests.ops.arm.conftest import IMAGE, SUBNET
from tests.ops.arm.test_definitions import body_of


class HeldRunner(SandboxRunner):
    """A sandbox that is slow to start anything."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.asked, self.gate, self.started = threading.Event(), threading.Event(), threading.Event()

    def _start(self, *arguments):
        self.asked.set()
        self.gate.wait()
        super()._start(*arguments)
        self.started.set()


async def test_what_is_discarded_while_it_starts_leaves_nothing(tmp_path):
    # Given a container that is being started
    runner = HeldRunner(tmp_path / "runs", images=tmp_path / "images")
    machine = Machine(
        runner,
        PurePosixPath("/workspace"),
        images={IMAGE: ("sleep", "1000")},
        isolated_subnets=frozenset({SUBNET}),
    )
    container = Container(Definition.model_validate(body_of(subnetIds=[{"id": SUBNET}])), machine)
    running = asyncio.create_task(container.run(lambda: None, death_seconds=None))
    await asyncio.to_thread(runner.asked.wait)

    async def discard():
        running.cancel()
        await asyncio.wait([running])
        await container.discard()

    # When it is discarded, which may end before the start does
    discarding = asyncio.create_task(discard())
    await asyncio.wait([discarding], timeout=0.2)
    runner.gate.set()
    await asyncio.to_thread(runner.started.wait)
    await discarding
    # Then nothing runs
    assert [run async for run in runner.list()] == []
