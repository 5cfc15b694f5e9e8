"""What the process that makes the load is told, and what it answers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "ceiling", "accept", "throughput", "latency", "first-token", "idle-streams", "first-line", "runs"
]


@dataclass(frozen=True, slots=True)
class Plan:
    """One measurement.

    Parameters:
      kind: What is measured.
      url: The ingress.
      tokens: An access token of each user, by ``userID``.
      type: Of the events.
      connections: Requests at a time; of `ceiling`, writes at a time; of `idle-streams`, streams.
      events: Post at most so many.
      seconds: Post for at most so long.
      processes: Process ids by name, whose processor time is measured.
      databases: SQLite files by name, whose transactions are counted.
      parents: Process ids, by the name of what ends as their children, whose processor time is measured.
      warm_up: Of `latency` and `first-token`: events before those that are counted.
      settle_seconds: Of `throughput`: for so long after the last is done, processor time still counts.
      model: Of `first-token`: the model's server, up to and with ``/v1``.
    """

    kind: Kind
    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict[str, str])
    type: str = "user.message"
    connections: int = 1
    events: int = 1000
    seconds: float = 10.0
    processes: dict[str, int] = field(default_factory=dict[str, int])
    databases: dict[str, str] = field(default_factory=dict[str, str])
    parents: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    warm_up: int = 10
    settle_seconds: float = 0.0
    model: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """What a measurement found.

    Parameters:
      events: Events that are counted.
      seconds: From the first post to the end of the last.
      p50_ms: Of the times that single events took.
      p99_ms: Of the same.
      max_ms: Of the same.
      cost: Processor seconds and transactions meanwhile (`ops.bench.gauge`).
      accepted_per_second: Of `throughput`: the posts alone.
      beside: Further times by name: their p50, p99 and longest, in ms.
      figures: What else was found, by name and unit.
    """

    events: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cost: dict[str, float]
    accepted_per_second: float | None = None
    beside: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    figures: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def per_second(self) -> float:
        """Events in a second."""
        return self.events / self.seconds


def summarise(
    times: Sequence[float],
    seconds: float,
    cost: dict[str, float],
    *,
    accepted_per_second: float | None = None,
) -> Result:
    """Make a result of the time that each event took, in seconds."""
    p50, p99, longest = spread(times)
    return Result(len(times), seconds, p50, p99, longest, cost, accepted_per_second)


def spread(times: Sequence[float]) -> list[float]:
    """Give p50, p99 and the longest of times, which are in seconds, in ms."""
    if not times:
        raise ValueError("nothing was measured")
    ordered = sorted(times)

    def percentile(share: float) -> float:
        return ordered[max(0, math.ceil(share * len(ordered)) - 1)] * 1000

    return [percentile(0.5), percentile(0.99), ordered[-1] * 1000]
