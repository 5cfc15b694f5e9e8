"""What the contract suite of container runners needs to know about each of them.

A kit opens the runner, in this process or as text for another one, and knows where it can be killed.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from lightning.containers import Limits, Runner, RunSpec
from lightning.containers.aci import AciRunner, open_aci
from lightning.containers.sandbox import SandboxRunner
from lightning.settings import Settings
from ops.emulators.arm import ArmEmulator

#: Small, so that many runs fit on a machine that tests share.
SMALL = Limits(cpu=1, memory_mib=128, pids=32, disk_mib=16, wall_seconds=60, log_bytes=256 * 1024)

PROGRAM = """
import asyncio
from tests.contract.runner_kits import *
asyncio.run({opening}.{call})
"""


class RunnerKit(Protocol):
    """One runner under test."""

    #: Points at which the process that starts a run can die, and whether the run goes on by itself then.
    start_points: Mapping[str, bool]
    #: Whether it tells when there is news of a run.
    tells_of_news: bool
    #: Points at which what holds the run can die, and whether the run can be started again then.
    holder_points: Mapping[str, bool]

    def open(self) -> Runner:
        """Open the runner in this process."""
        ...

    def opening(self, point: str | None = None) -> str:
        """Write the expression that opens it in another process, which dies at a point if one is named."""
        ...

    def open_dying(self, point: str) -> Runner:
        """Open it so that what holds a run dies at a point."""
        ...

    def shell(self, name: str, script: str, **changes: Any) -> RunSpec:
        """Describe a run of a shell script that needs no network."""
        ...


class SandboxKit:
    """Bubblewrap on this machine."""

    tells_of_news = True
    start_points = MappingProxyType({"runner:created": False, "runner:launched": True})
    holder_points = MappingProxyType({"held": True, "began": False, "launched": False, "ended": False})

    def __init__(self, directory: Path, _emulator: Callable[[], ArmEmulator]) -> None:
        self._directory = directory

    def open(self) -> SandboxRunner:
        return SandboxRunner(self._directory / "runs", images=self._directory / "images")

    def opening(self, point: str | None = None) -> str:
        paths = f"Path({str(self._directory / 'runs')!r}), images=Path({str(self._directory / 'images')!r})"
        return f"SandboxRunner({paths}, crash=dying({point!r}))"

    def open_dying(self, point: str) -> SandboxRunner:
        return SandboxRunner(self._directory / "runs", images=self._directory / "images", shim_dies_at=point)

    def shell(self, name: str, script: str, **changes: Any) -> RunSpec:
        return replace(RunSpec(name, ["sh", "-c", script], network="none", limits=SMALL), **changes)


class AciKit:
    """Azure Container Instances, by the emulator that runs containers on this machine."""

    tells_of_news = False
    start_points = MappingProxyType({"runner:absent": False, "runner:accepted": True})
    holder_points: Mapping[str, bool] = MappingProxyType({})  # Azure holds the runs

    image = "registry.example/agents:1"
    subnet = (
        "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/isolated"
    )

    #: Azure takes seconds at least. It is what makes two creations at once one.
    pending_seconds = 0.2

    def __init__(self, _directory: Path, emulator: Callable[[], ArmEmulator]) -> None:
        self._connection = emulator().connection_string

    @classmethod
    def emulator(cls) -> ArmEmulator:
        return ArmEmulator(
            images={cls.image: ()}, isolated_subnets=[cls.subnet], pending_seconds=cls.pending_seconds
        )

    def open(self) -> AciRunner:
        return open_emulated(self._connection)

    def opening(self, point: str | None = None) -> str:
        return f"open_emulated({self._connection!r}, crash=dying({point!r}))"

    def open_dying(self, point: str) -> AciRunner:
        raise ValueError(f"nothing of ours holds a run on Azure, so nothing can die at {point}")

    def shell(self, name: str, script: str, **changes: Any) -> RunSpec:
        return replace(RunSpec(name, ["sh", "-c", script], network="none", limits=SMALL), **changes)


def open_emulated(connection: str, **options: Any) -> AciRunner:
    """Open the runner on an emulator of Azure."""
    settings = {
        "LIGHTNING_RUNNER": "aci",
        "WORKER_IMAGE": AciKit.image,
        "ACI_RESOURCE_GROUP": "lightning",
        "ACI_ISOLATED_SUBNET": AciKit.subnet,
        "ACI_EMULATOR": connection,
    }
    return open_aci(Settings.load(settings), **options)


#: Each runner, by the directory that a test gives it and what serves the emulator of Azure.
KITS = {"sandbox": SandboxKit, "aci": AciKit}


def dying(point: str | None):
    """Kill this process at a point."""

    def reach(reached: str) -> None:
        if reached == point:
            os.kill(os.getpid(), signal.SIGKILL)

    return reach


def start_elsewhere(kit: RunnerKit, spec: RunSpec, point: str | None = None) -> int:
    """Start a run from another process, which may die of it; return its exit status."""
    return _elsewhere(kit.opening(point), f"start({spec_text(spec)})")


def stop_elsewhere(kit: RunnerKit, name: str) -> int:
    """Stop a run from another process."""
    return _elsewhere(kit.opening(), f"stop({name!r})")


def _elsewhere(opening: str, call: str) -> int:
    program = PROGRAM.format(opening=opening, call=call)
    return subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode


def spec_text(spec: RunSpec) -> str:
    """Write a spec as Python, with what its own representation hides."""
    values = ", ".join(f"{field.name}={getattr(spec, field.name)!r}" for field in fields(spec))
    return f"RunSpec({values})"
