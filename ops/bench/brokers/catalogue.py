"""The systems that are compared."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ops.bench.brokers import servers
from ops.bench.brokers.servers import Start


@dataclass(frozen=True, slots=True)
class System:
    """A task queue on a broker.

    Parameters:
      key: Names it on the command line and in the figures.
      title: Names it for people.
      driver: How it is used (`ops.bench.brokers.drivers`).
      start: Starts the server that it needs; None for none.
      programs: Must be installed.
      packages: Must be installed.
      processes: That work.
      threads: Of each of them.
      round_trip_ms: What the server adds to each round trip.
      within: Messages do not leave the process, so those who work send, too.
    """

    key: str
    title: str
    driver: str
    start: Start | None = None
    programs: Sequence[str] = ()
    packages: Sequence[str] = ()
    processes: int = 2
    threads: int = 8
    round_trip_ms: float = 0.0
    within: bool = False

    def missing(self) -> str | None:
        """Say what is not installed and how to come by it; None when all is."""
        programs = [each for each in self.programs if servers.missing(each)]
        if programs:
            return f"not installed: {', '.join(programs)}; on Debian: {_APT}"
        if any(importlib.util.find_spec(package) is None for package in self.packages):
            return f"not installed: {', '.join(self.packages)}; run: make bench-brokers"
        return None


#: What is added to each round trip to Service Bus, in ms, where figures are asked for.
LINK_MS = 5.0

_far = partial(servers.service_bus, round_trip_ms=LINK_MS)
_APT = "apt-get install --no-install-recommends redis-server rabbitmq-server"
_REDIS = ("redis-server",)
_RABBITMQ = ("epmd", str(servers.RABBITMQ))

SYSTEMS: Sequence[System] = (
    System("stub", "Dramatiq, stub (ceiling)", "dramatiq.stub", within=True),
    System("sqlite", "Lightning, SQLite", "dramatiq.sqlite"),
    System("servicebus-0", "Lightning, Service Bus, 0 ms", "dramatiq.servicebus", servers.service_bus),
    System(
        "servicebus-5", "Lightning, Service Bus, 5 ms", "dramatiq.servicebus", _far, round_trip_ms=LINK_MS
    ),
    System(
        "servicebus-32",
        "Lightning, Service Bus, 5 ms, 1 x 32",
        "dramatiq.servicebus",
        _far,
        processes=1,
        threads=32,
        round_trip_ms=LINK_MS,
    ),
    System("dramatiq-redis", "Dramatiq, Redis", "dramatiq.redis", servers.redis, _REDIS, ("redis",)),
    System(
        "dramatiq-rabbitmq", "Dramatiq, RabbitMQ", "dramatiq.rabbitmq", servers.rabbitmq, _RABBITMQ, ("pika",)
    ),
    System("celery-redis", "Celery, Redis", "celery", servers.redis, _REDIS, ("celery", "redis")),
    System(
        "taskiq-servicebus",
        "taskiq, Service Bus, 5 ms",
        "taskiq",
        _far,
        packages=("taskiq_service_bus",),
        round_trip_ms=LINK_MS,
    ),
    System(
        "faststream-servicebus",
        "FastStream, Service Bus, 5 ms",
        "faststream",
        _far,
        packages=("faststream_azure_servicebus",),
        round_trip_ms=LINK_MS,
    ),
)
