"""Faults that can be injected: refusals, delays, and what befalls a container group.

Sources: "Throttling Resource Manager requests", "Troubleshoot common issues in Azure Container Instances".
"""

from dataclasses import dataclass
from typing import ClassVar, Final

from ops.emulators.arm.errors import (
    ArmError,
    forbidden,
    no_capacity,
    quota_reached,
    too_many_requests,
    transitioning,
)
from ops.emulators.http_faults import OF_ANY_SERVICE, HttpFault, HttpFaults

OPERATIONS: Final = (
    *("create", "get", "list", "delete", "update", "start", "stop", "restart", "logs", "operation", "usages"),
)

#: Those that are an answer.
ANSWERS: Final = (
    *(
        "throttle",
        "quota",
        "capacity",
        "transitioning",
        "internal",
        "bad_gateway",
        "unavailable",
        "forbidden",
    ),
)

#: Those that befall the group which a request creates or starts, after it was accepted.
FATES: Final = ("fail_provisioning", "stuck_pending", "pull_fails", "out_of_memory")

_STATUSES: Final = {
    "internal": (500, "InternalServerError"),
    "bad_gateway": (502, "BadGateway"),
    "unavailable": (503, "ServerUnavailable"),
}


@dataclass(slots=True)
class Fault(HttpFault):
    """One fault; see `HttpFault`.

    Parameters:
      group: Only groups whose name begins so; empty: all.
      retry_after_seconds: The header ``Retry-After`` of ``throttle``.
      seconds: How long ``latency`` holds the request back, or after how long ``out_of_memory`` strikes.
      lines: How many of the last lines ``truncate_logs`` leaves.
    """

    KINDS: ClassVar = (*ANSWERS, *FATES, *OF_ANY_SERVICE, "truncate_logs")
    NEVER_APPLIED: ClassVar = frozenset({"throttle", "quota", "capacity", "transitioning", "forbidden"})
    OPERATIONS: ClassVar = OPERATIONS

    group: str = ""
    retry_after_seconds: float = 1.0
    lines: int = 0

    def __post_init__(self) -> None:
        super(Fault, self).__post_init__()
        if min(self.retry_after_seconds, self.lines) < 0:
            raise ValueError("no number may be negative")

    def concerns(self, place: str) -> bool:
        """Tell whether it can strike a group."""
        return place.startswith(self.group)

    def error(self, place: str) -> ArmError:
        """Give the answer that it is."""
        match self.kind:
            case "throttle":
                return too_many_requests(self.retry_after_seconds)
            case "quota":
                return quota_reached("StandardCores", "everywhere", limit=0, usage=0, requested=1)
            case "capacity":
                return no_capacity("everywhere", cpu=1, memory_gb=1)
            case "forbidden":
                return forbidden(place)
            case "transitioning":
                return transitioning(place)
            case _:
                status, code = _STATUSES[self.kind]
                return ArmError(status, code, f"A fault was injected: {self.kind}.")


class Faults(HttpFaults[Fault]):
    """The faults in force; a group that is stuck goes on when they are taken away."""

    def __init__(self) -> None:
        super().__init__(Fault)

    def holds(self, fault: Fault) -> bool:
        """Tell whether a fault is still in force."""
        return fault in self.in_force

    def answering(self, operation: str, group: str) -> list[Fault]:
        """Give what happens to a request as such."""
        kinds = {*ANSWERS, *OF_ANY_SERVICE}
        return [each for each in self.in_force if each.kind in kinds and each.happens(operation, group)]

    def fate(self, group: str) -> Fault | None:
        """Give what befalls a group that is created or started now."""
        found = (each for each in self.in_force if each.kind in FATES and each.happens("create", group))
        return next(found, None)

    def kept_lines(self, group: str) -> int | None:
        """Give how many lines of a log are left; None: no fault says."""
        cutting = (each for each in self.in_force if each.kind == "truncate_logs")
        return next((each.lines for each in cutting if each.happens("logs", group)), None)
