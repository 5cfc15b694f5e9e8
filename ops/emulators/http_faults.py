"""What the emulators that speak HTTP share of faults: when one happens, and what it does to a request."""

import argparse
import asyncio
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar

When = Literal["before", "after"]

F = TypeVar("F", bound="HttpFault")

#: The faults that are no answer, with every service: the request is held back, or its connection cut.
OF_ANY_SERVICE = ("latency", "drop")


@dataclass(slots=True)
class HttpFault:
    """One fault; a service says which kinds it knows, and where one can strike.

    Parameters:
      kind: One of ``KINDS``.
      operations: Only these; empty: all.
      count: How often, at most; None: always.
      probability: How likely at each request.
      seed: Of the dice.
      seconds: How long ``latency`` holds the request back.
      when: ``before`` the operation, which is then not done, or ``after`` it, so that it was.
      fired: How often it happened.

    Raises:
      ValueError: A value makes no sense.
    """

    KINDS: ClassVar[tuple[str, ...]]
    #: Those after which the service has surely not done what it was asked.
    NEVER_APPLIED: ClassVar[frozenset[str]]
    #: What can be asked of the service; empty: any word.
    OPERATIONS: ClassVar[tuple[str, ...]] = ()

    kind: str
    operations: tuple[str, ...] = ()
    count: int | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    when: str = "before"
    fired: int = 0
    _dice: random.Random = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.operations = tuple(self.operations)
        if self.kind not in self.KINDS:
            raise ValueError(f"kind must be one of {', '.join(self.KINDS)}, not {self.kind}")
        if self.OPERATIONS and (unknown := set(self.operations) - set(self.OPERATIONS)):
            raise ValueError(
                f"operations must be of {', '.join(self.OPERATIONS)}, not {', '.join(sorted(unknown))}"
            )
        if self.when not in {"before", "after"} or (self.when == "after" and self.kind in self.NEVER_APPLIED):
            raise ValueError(f"{self.kind} cannot happen {self.when} the operation")
        if not 0 <= self.probability <= 1 or self.seconds < 0:
            raise ValueError("probability must be from 0 to 1, and seconds not negative")
        self._dice = random.Random(self.seed)  # noqa: S311 -- dice of a test, to be repeated

    def concerns(self, place: str) -> bool:
        """Tell whether it can strike a request at a place."""
        raise NotImplementedError

    def happens(self, operation: str, place: str) -> bool:
        """Roll the dice for a request."""
        if (
            (self.operations and operation not in self.operations)
            or not self.concerns(place)
            or (self.count is not None and self.fired >= self.count)
            or self._dice.random() >= self.probability
        ):
            return False
        self.fired += 1
        return True

    def error(self, place: str) -> Exception:
        """Give the answer that it is."""
        raise NotImplementedError

    def as_json(self) -> dict[str, Any]:
        """Give its values for the control interface."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "_dice"}


class HttpFaults(Generic[F]):
    """The faults in force, in the order in which they were added.

    Parameters:
      kind: What makes a fault of the service.
    """

    def __init__(self, kind: Callable[..., F]) -> None:
        self._kind = kind
        self.in_force: list[F] = []

    def add(self, kind: str, **options: Any) -> F:
        """Put a fault in force.

        Raises:
          ValueError: A value makes no sense.
          TypeError: There is no such option.
        """
        fault = self._kind(kind, **options)
        self.in_force.append(fault)
        return fault

    def clear(self) -> None:
        """Take all away."""
        self.in_force.clear()

    def happening(self, operation: str, place: str) -> list[F]:
        """Give what happens to a request."""
        return [fault for fault in self.in_force if fault.happens(operation, place)]

    def as_json(self) -> list[dict[str, Any]]:
        """Give all of them for the control interface."""
        return [fault.as_json() for fault in self.in_force]


async def happen(faults: Iterable[HttpFault], when: When, place: str) -> bool:
    """Let faults happen to a request.

    Returns:
      Whether the connection is to be dropped.

    Raises:
      Exception: The answer that a fault is.
    """
    for fault in faults:
        if fault.when != when:
            continue
        if fault.kind == "drop":
            return True
        if fault.kind != "latency":
            raise fault.error(place)
        await asyncio.sleep(fault.seconds)
    return False


def add_fault_option(parser: argparse.ArgumentParser, kind: Callable[..., HttpFault]) -> None:
    """Let a command take faults.

    Parameters:
      parser: Of the command.
      kind: What makes a fault of the service.
    """

    def read(text: str) -> dict[str, Any]:
        try:
            values = json.loads(text)
            kind(**values)
        except (TypeError, ValueError) as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        return values

    parser.add_argument(
        "--fault",
        type=read,
        action="append",
        default=[],
        help='a fault as JSON, as in {"kind": "throttle", "probability": 0.01}; may be repeated',
    )
