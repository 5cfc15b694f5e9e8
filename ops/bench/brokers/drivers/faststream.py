"""FastStream on Azure Service Bus by faststream-azure-servicebus: one subscriber with concurrent workers."""

from importlib import import_module
from typing import Any

from ops.bench.brokers.job import Job
from ops.bench.brokers.loop import LoopThread
from ops.bench.brokers.plan import Plan, Quota
from ops.bench.brokers.sending import Failed, flood_by_tasks


def open_driver(variant: str, plan: Plan, queue: str, job: Job) -> "FastStreamDriver":
    """Open FastStream on the connection string of the plan; there is no variant."""
    del variant
    return FastStreamDriver(plan.url, queue, job)


class FastStreamDriver:
    """FastStream with one subscriber, on an event loop of its own."""

    def __init__(self, url: str, queue: str, job: Job) -> None:
        module: Any = import_module("faststream_azure_servicebus")
        self._queue = queue
        self._job = job
        self._loop = LoopThread()
        self._broker: Any = module.ServiceBusBroker(url, logger=None)
        self._loop.run(self._broker.connect())

    def flood(self, quota: Quota, at_a_time: int) -> Failed:
        """Send from tasks."""
        return self._loop.run(flood_by_tasks(self._publish, quota, at_a_time))

    def send(self, number: int) -> None:
        """Send one message."""
        self._loop.run(self._publish(number))

    async def _publish(self, number: int) -> None:
        await self._broker.publish(number, queue=self._queue)

    def work(self, threads: int) -> None:
        """Start a subscriber that handles so many messages at a time."""
        # it refuses to fetch fewer than it has workers: it gets what Dramatiq prefetches
        subscribe: Any = self._broker.subscriber(self._queue, prefetch_count=2 * threads, max_workers=threads)
        subscribe(self._handle)
        self._loop.run(self._broker.start())

    async def _handle(self, number: int) -> None:
        await self._job.run_async(number)

    def close(self) -> None:
        """Stop the subscriber and close the connections."""
        self._loop.run(self._broker.stop())
        self._loop.close()
