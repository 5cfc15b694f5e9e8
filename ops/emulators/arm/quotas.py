"""What a subscription may have and do in a region.

Source: "Resource availability & quota limits for ACI".
"""

import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ops.emulators.arm.address import PROVIDER
from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import no_capacity, quota_reached, too_many_requests

FIVE_MINUTES_SECONDS = 300
HOUR_SECONDS = 3600

#: The most that one group may ask for.
MAX_CORES = 4.0
MAX_MEMORY_GB = 16.0


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers.

    Parameters:
      groups: Container groups in a region.
      cores: Cores of all of them.
      per_five_minutes: Creations, and deletions, in any five minutes.
      per_hour: Creations, and deletions, in any hour.

    Raises:
      ValueError: One is below zero.
    """

    groups: int = 100
    cores: float = 100
    per_five_minutes: int = 100
    per_hour: int = 300

    def __post_init__(self) -> None:
        if min(self.groups, self.cores, self.per_five_minutes, self.per_hour) < 0:
            raise ValueError("a limit cannot be below zero")


@dataclass
class Rate:
    """How often something was done.

    Parameters:
      limits: The numbers.
      now: Gives the time in seconds.
    """

    limits: Limits
    now: Callable[[], float] = time.monotonic
    _times: deque[float] = field(default_factory=deque[float])

    def take(self) -> None:
        """Do it once more.

        Raises:
          ArmError: 429; it was done too often.
        """
        now = self.now()
        while self._times and self._times[0] <= now - HOUR_SECONDS:
            self._times.popleft()
        for window, most in (
            (FIVE_MINUTES_SECONDS, self.limits.per_five_minutes),
            (HOUR_SECONDS, self.limits.per_hour),
        ):
            recent = [moment for moment in self._times if moment > now - window]
            if len(recent) >= most:
                raise too_many_requests(max(1, round((recent[0] if recent else now) + window - now)))
        self._times.append(now)


class Quotas:
    """Holds a subscription to its limits.

    Parameters:
      limits: The numbers.
      now: Gives the time in seconds.
    """

    def __init__(self, limits: Limits, now: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.creations = Rate(limits, now)
        self.deletions = Rate(limits, now)

    def admit(self, asked: Definition, existing: Iterable[Definition]) -> None:
        """Let a new group be created.

        Parameters:
          asked: The new group.
          existing: Those that count already, in the same region.

        Raises:
          ArmError: 409 beyond a quota, 429 too soon.
        """
        if asked.cpu > MAX_CORES or asked.memory_gb > MAX_MEMORY_GB:
            raise no_capacity(asked.location, cpu=asked.cpu, memory_gb=asked.memory_gb)
        others = list(existing)
        cores = sum(group.cpu for group in others)
        if len(others) + 1 > self.limits.groups:
            raise quota_reached(
                "ContainerGroups", asked.location, limit=self.limits.groups, usage=len(others), requested=1
            )
        if cores + asked.cpu > self.limits.cores:
            raise quota_reached(
                "StandardCores", asked.location, limit=self.limits.cores, usage=cores, requested=asked.cpu
            )
        self.creations.take()

    def usages(self, subscription: str, region: str, existing: Iterable[Definition]) -> list[dict[str, Any]]:
        """Say what is used ("Location - List Usage")."""
        groups = list(existing)
        counted = (
            ("ContainerGroups", "Container Groups", len(groups), self.limits.groups),
            ("StandardCores", "Standard Cores", sum(group.cpu for group in groups), self.limits.cores),
        )
        where = f"/subscriptions/{subscription}/providers/{PROVIDER}/locations/{region}/usages"
        return [
            {
                "id": f"{where}/{name}",
                "unit": "Count",
                "currentValue": int(used),
                "limit": int(limit),
                "name": {"value": name, "localizedValue": words},
            }
            for name, words, used, limit in counted
        ]
