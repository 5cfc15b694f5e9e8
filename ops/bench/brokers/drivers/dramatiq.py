"""Dramatiq, on whichever broker: its own worker, its default middleware, its default prefetch."""

from importlib import import_module
from typing import Any

import dramatiq
from dramatiq import Broker, Worker
from dramatiq.brokers.stub import StubBroker

from brokers import SqliteBroker
from ops.bench.brokers.job import Job
from ops.bench.brokers.plan import Plan, Quota
from ops.bench.brokers.sending import Failed, flood_by_threads

_STOP_MILLISECONDS = 5000


def open_driver(variant: str, plan: Plan, queue: str, job: Job) -> "DramatiqDriver":
    """Open Dramatiq on the broker that the variant names."""
    return DramatiqDriver(_open_broker(variant, plan.url), queue, job)


def _open_broker(variant: str, url: str) -> Broker:
    if variant == "stub":
        return StubBroker()
    if variant == "sqlite":
        return SqliteBroker(url)
    if variant == "servicebus":
        from brokers.servicebus import ServiceBusBroker  # noqa: PLC0415 -- its SDK takes a second to import

        return ServiceBusBroker(url)
    # the others' clients are not installed where the product is: named here, they are looked up there
    module, name = {
        "redis": ("dramatiq.brokers.redis", "RedisBroker"),
        "rabbitmq": ("dramatiq.brokers.rabbitmq", "RabbitmqBroker"),
    }[variant]
    broker: Broker = getattr(import_module(module), name)(url=url)
    return broker


class DramatiqDriver:
    """Dramatiq with one actor."""

    def __init__(self, broker: Broker, queue: str, job: Job) -> None:
        self._broker = broker
        declare: Any = dramatiq.actor(actor_name="bench", queue_name=queue, broker=broker)
        self._actor: Any = declare(job.run)
        self._worker: Worker | None = None

    def flood(self, quota: Quota, at_a_time: int) -> Failed:
        """Send from threads."""
        return flood_by_threads(self.send, quota, at_a_time)

    def send(self, number: int) -> None:
        """Send one message."""
        self._actor.send(number)

    def work(self, threads: int) -> None:
        """Start a worker with so many threads."""
        self._worker = Worker(self._broker, worker_threads=threads)
        self._worker.start()

    def close(self) -> None:
        """Stop the worker and close the broker."""
        if self._worker is not None:
            self._worker.stop(timeout=_STOP_MILLISECONDS)
        self._broker.close()
