"""Faults that an operator or a test puts in the way of what is sent."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final

from ops.emulators.http_faults import OF_ANY_SERVICE, HttpFault, HttpFaults

#: The faults that are an answer, and its status.
STATUSES: Final = {"throttle": 429, "quota": 402, "unavailable": 503, "internal": 500, "refused": 403}

#: Some of the items are taken and others not: an answer of 206.
PARTIAL: Final = "partial"

#: The answer comes byte by byte.
TRICKLE: Final = "trickle"


class Refused(Exception):
    """The answer that a fault is.

    Parameters:
      status: The HTTP status.
      message: For the body.
      headers: Further headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


@dataclass(slots=True)
class Fault(HttpFault):
    """One fault; see `HttpFault`. ``latency`` with many seconds is a service that stalls.

    ``trickle`` takes its ``seconds`` for each byte of the answer to what was taken.

    Parameters:
      operations: Of track.
      retry_after_seconds: The header ``retry-after`` of ``throttle``.
      every: ``partial`` refuses every so manieth item.
      item_status: What ``partial`` says of it.
    """

    KINDS: ClassVar = (*STATUSES, PARTIAL, TRICKLE, *OF_ANY_SERVICE)
    NEVER_APPLIED: ClassVar = frozenset({*STATUSES, PARTIAL})
    OPERATIONS: ClassVar = ("track",)

    retry_after_seconds: int = 1
    every: int = 2
    item_status: int = 500

    def concerns(self, place: str) -> bool:
        """Strike everywhere."""
        del place
        return True

    def error(self, place: str) -> Refused:
        """Give the answer that it is."""
        del place
        headers = {"retry-after": str(self.retry_after_seconds)} if self.kind == "throttle" else {}
        return Refused(STATUSES[self.kind], f"A fault was injected: {self.kind}.", headers)


class Faults(HttpFaults[Fault]):
    """The faults in force."""

    def __init__(self) -> None:
        super().__init__(Fault)


def refused_items(faults: Iterable[Fault], count: int) -> dict[int, int]:
    """Give the indices of the items that ``partial`` refuses, each with its status.

    Parameters:
      faults: What happens to the request.
      count: How many items it has.
    """
    return {
        index: fault.item_status
        for fault in faults
        if fault.kind == PARTIAL
        for index in range(0, count, fault.every)
    }
