"""taskiq on Azure Service Bus by taskiq-service-bus: the receiver that its own worker command runs."""

import asyncio
from importlib import import_module
from typing import Any

from ops.bench.brokers.job import Job
from ops.bench.brokers.loop import LoopThread
from ops.bench.brokers.plan import Plan, Quota
from ops.bench.brokers.sending import Failed, flood_by_tasks


def open_driver(variant: str, plan: Plan, queue: str, job: Job) -> "TaskiqDriver":
    """Open taskiq on the connection string of the plan; there is no variant."""
    del variant
    return TaskiqDriver(plan.url, queue, job, works=bool(plan.sightings))


class TaskiqDriver:
    """taskiq with one task, on an event loop of its own."""

    def __init__(self, url: str, queue: str, job: Job, *, works: bool) -> None:
        module: Any = import_module("taskiq_service_bus")
        self._loop = LoopThread()
        self._broker: Any = module.ServiceBusBroker(url, queue)
        self._broker.is_worker_process = works

        async def bench(number: int) -> None:
            await job.run_async(number)

        self._task: Any = self._broker.register_task(bench, task_name="bench")
        self._finish = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._loop.run(self._broker.startup())

    def flood(self, quota: Quota, at_a_time: int) -> Failed:
        """Send from tasks."""
        return self._loop.run(flood_by_tasks(self._task.kiq, quota, at_a_time))

    def send(self, number: int) -> None:
        """Send one message."""
        self._loop.run(self._task.kiq(number))

    def work(self, threads: int) -> None:
        """Listen, with at most so many tasks at a time."""
        self._loop.run(self._work(threads))

    async def _work(self, tasks: int) -> None:
        receivers: Any = import_module("taskiq.receiver")
        receiver: Any = receivers.Receiver(self._broker, max_async_tasks=tasks, run_startup=False)
        self._listening = asyncio.create_task(receiver.listen(self._finish))

    def close(self) -> None:
        """Stop listening and close the connections."""
        self._loop.run(self._close())
        self._loop.close()

    async def _close(self) -> None:
        self._finish.set()
        if self._listening is not None:
            await asyncio.wait([self._listening], timeout=5)
        await self._broker.shutdown()
