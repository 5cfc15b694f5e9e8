"""What the actors of every system do with a message."""

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ops.bench.brokers.plan import Actor, Plan
from ops.bench.brokers.sightings import Sightings


class Job(Protocol):
    """What is done with a message."""

    def run(self, number: int) -> None:
        """Do it on the calling thread."""
        ...

    async def run_async(self, number: int) -> None:
        """Do it on an event loop."""
        ...

    def close(self) -> None:
        """Let go of what it needs."""
        ...


def open_job(actor: Actor, plan: Plan) -> Job:
    """Open the job of an actor, or one that refuses in a process that only sends."""
    if not plan.sightings:
        return Nothing()
    sightings = Sightings(Path(plan.sightings))
    if actor == "noop":
        return Noop(sightings)
    step: Any = import_module("ops.bench.brokers.step")  # the platform, which takes a second to import
    return cast("Job", step.RealStep(sightings, Path(plan.log)))


class Nothing:
    """The job of a process that only sends."""

    def run(self, number: int) -> None:
        """Refuse: nobody consumes here."""
        raise NotImplementedError(f"message {number} came to a process that only sends")

    async def run_async(self, number: int) -> None:
        """Refuse likewise."""
        self.run(number)

    def close(self) -> None:
        """Do nothing."""


class Noop:
    """Notes that the message came."""

    def __init__(self, sightings: Sightings) -> None:
        self.run = sightings.note

    async def run_async(self, number: int) -> None:
        """Note it likewise."""
        self.run(number)

    def close(self) -> None:
        """Do nothing: what was noted is in the file."""
