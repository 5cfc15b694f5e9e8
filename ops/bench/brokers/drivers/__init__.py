"""How each task queue is used: as its documentation says, with its own defaults where none is named."""

from importlib import import_module
from typing import Any, Protocol, cast

from ops.bench.brokers.job import Job
from ops.bench.brokers.plan import Plan, Quota
from ops.bench.brokers.sending import Failed


class Driver(Protocol):
    """A task queue with one actor on one queue."""

    def flood(self, quota: Quota, at_a_time: int) -> Failed:
        """Send messages as fast as they are taken."""
        ...

    def send(self, number: int) -> None:
        """Send one message."""
        ...

    def work(self, threads: int) -> None:
        """Begin to consume, so many messages at a time."""
        ...

    def close(self) -> None:
        """Finish what is under way, and let go."""
        ...


def open_driver(plan: Plan, queue: str, job: Job) -> Driver:
    """Open the driver that a plan names: its module here, and after a dot what the module is to use.

    Parameters:
      plan: The plan.
      queue: Name of the queue.
      job: What is done with each message.
    """
    module, _, variant = plan.driver.partition(".")
    driver: Any = import_module(f"{__name__}.{module}")
    return cast("Driver", driver.open_driver(variant, plan, queue, job))
