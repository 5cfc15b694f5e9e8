"""Faults on demand: what is to go wrong, on which operation, how often."""

import itertools
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Literal, cast, get_args

Kind = Literal[
    "server-busy", "forced-close", "detach", "drop", "lock-lost", "not-found", "not-allowed", "unauthorized"
]
Operation = Literal["attach", "send", "deliver", "settle", "manage", "administer"]
Moment = Literal["before", "after"]

KINDS = cast("tuple[str, ...]", get_args(Kind))
OPERATIONS = cast("tuple[str, ...]", get_args(Operation))
#: What each kind can strike.
POSSIBLE = {
    "server-busy": {"attach", "send", "settle", "manage", "administer"},
    "forced-close": {*OPERATIONS} - {"administer"},
    "detach": {"send", "deliver", "settle", "manage"},
    "drop": {*OPERATIONS} - {"administer"},
    "lock-lost": {"settle", "manage"},
    "not-found": {"attach", "send", "manage"},
    "not-allowed": {"send", "manage", "administer"},
    "unauthorized": {"attach"},
}


@dataclass(slots=True)
class Fault:
    """Something that is to go wrong.

    Parameters:
      kind: ``server-busy`` (the request is refused), ``forced-close`` (the connection is closed with
        ``amqp:connection:forced``), ``detach`` (the link is detached with ``amqp:link:detach-forced``),
        ``drop`` (the socket is cut), ``lock-lost`` (the lock has expired early), ``not-found`` (the entity
        is missing), ``not-allowed`` (the request is refused for what it is), ``unauthorized`` (whoever asks
        has no role for it).
      operation: ``attach``, ``send``, ``deliver`` (a message to a receiver), ``settle`` (on a link),
        ``manage`` (a management request) or ``administer`` (the list of the queues).
      entity: The path of the entity; None: any.
      count: How often; None: until it is removed.
      skip: How many operations go well first.
      moment: ``before`` the operation has its effect, or ``after``, so that only its answer is lost.
    """

    kind: str
    operation: str
    entity: str | None = None
    count: int | None = 1
    skip: int = 0
    moment: str = "before"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}")
        if self.operation not in POSSIBLE[self.kind]:
            raise ValueError(f"{self.kind} strikes {', '.join(sorted(POSSIBLE[self.kind]))}")
        if self.moment not in {"before", "after"}:
            raise ValueError("moment must be before or after")
        if self.moment == "after" and self.kind not in {"forced-close", "detach", "drop"}:
            raise ValueError(f"{self.kind} strikes before an operation only")


@dataclass(slots=True)
class Faults:
    """The faults that are set, and a count of the operations."""

    operations: Counter[str] = field(default_factory=Counter[str])
    struck: Counter[str] = field(default_factory=Counter[str])
    _set: dict[int, Fault] = field(default_factory=dict[int, Fault])
    _numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def add(self, fault: Fault) -> int:
        """Set a fault; gives the number by which it can be removed."""
        number = next(self._numbers)
        self._set[number] = fault
        return number

    def remove(self, number: int | None = None) -> None:
        """Remove one fault, or all."""
        if number is None:
            self._set.clear()
        else:
            self._set.pop(number, None)

    def as_json(self) -> list[dict[str, object]]:
        """Give the faults that are still set."""
        return [{"id": number, **asdict(fault)} for number, fault in self._set.items()]

    def strike(self, operation: str, entity: str) -> Fault | None:
        """Count an operation, and give the fault that strikes it."""
        self.operations[operation] += 1
        if not self._set:
            return None
        for number, fault in self._set.items():
            if fault.operation != operation:
                continue
            if fault.entity is not None and fault.entity.lower() != entity.lower():
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.count is not None:
                fault.count -= 1
                if fault.count <= 0:
                    del self._set[number]
            self.struck[fault.kind] += 1
            return fault
        return None
