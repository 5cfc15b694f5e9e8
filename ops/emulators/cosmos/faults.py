"""Faults that an operator or a test puts in the way of requests."""

from dataclasses import dataclass
from typing import ClassVar, Final

from ops.emulators.cosmos.errors import AAD_NOT_AUTHORIZED, TOO_MANY_REQUESTS, CosmosError
from ops.emulators.http_faults import OF_ANY_SERVICE, HttpFault, HttpFaults

#: The faults that are an answer, with status and substatus.
STATUSES: Final = {
    "throttle": (429, TOO_MANY_REQUESTS),
    "retry_with": (449, 0),
    "timeout": (408, 0),
    "unavailable": (503, 0),
    "internal": (500, 0),
    "forbidden": (403, AAD_NOT_AUTHORIZED),
}


@dataclass(slots=True)
class Fault(HttpFault):
    """One fault; see `HttpFault`.

    Parameters:
      operations: Of create, upsert, replace, delete, patch, read, batch, query, plan and metadata.
      container: Only in the container of this name; empty: in all.
      retry_after_ms: The header ``x-ms-retry-after-ms`` of ``throttle``.
    """

    KINDS: ClassVar = (*STATUSES, *OF_ANY_SERVICE)
    NEVER_APPLIED: ClassVar = frozenset({"throttle", "retry_with", "forbidden"})

    container: str = ""
    retry_after_ms: int = 10

    def concerns(self, place: str) -> bool:
        """Tell whether it can strike in a container."""
        return self.container in {"", place}

    def error(self, place: str) -> CosmosError:
        """Give the answer that it is."""
        del place
        status, substatus = STATUSES[self.kind]
        headers = {"x-ms-retry-after-ms": str(self.retry_after_ms)} if status == 429 else {}
        return CosmosError(
            status, f"A fault was injected: {self.kind}.", substatus=substatus, headers=headers
        )


class Faults(HttpFaults[Fault]):
    """The faults in force."""

    def __init__(self) -> None:
        super().__init__(Fault)
