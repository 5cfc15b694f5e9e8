"""What a condition says about single paths, as spans of their indexes."""

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any

from ops.emulators.cosmos.sql.evaluate import Parameters, constant
from ops.emulators.cosmos.sql.nodes import And, Compare, In, Node, Path
from ops.emulators.cosmos.values import UNDEFINED, sort_key
from ops.emulators.cosmos.versions import IndexKey

Steps = tuple[str | int, ...]

#: From and up to which entry of an index.
Span = tuple[int, int]

_FLIPPED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Bound:
    """One comparison of a path with a value."""

    operator: str
    value: Any

    def span(self, index: list[IndexKey]) -> Span:
        """Give the entries that may satisfy it; none of another type does."""
        place, value = sort_key(self.value)
        first, behind = bisect_left(index, (place, value)), bisect_left(index, (place, value, inf))
        match self.operator:
            case "=":
                return first, behind
            case ">=":
                return first, bisect_left(index, (place + 0.5,))
            case ">":
                return behind, bisect_left(index, (place + 0.5,))
            case "<=":
                return bisect_left(index, (place,)), behind
            case _:
                return bisect_left(index, (place,)), first


class Bounds:
    """What the conjunction at the top of a condition says about each path."""

    def __init__(self, condition: Node | None, parameters: Parameters) -> None:
        self._ranges: dict[Steps, list[Bound]] = {}
        self._choices: dict[Steps, list[Bound]] = {}
        for part in _conjuncts(condition):
            match part:
                case Compare(operator=operator, left=Path(steps=steps), right=other):
                    self._add(steps, operator, constant(other, parameters))
                case Compare(operator=operator, left=other, right=Path(steps=steps)):
                    self._add(steps, _FLIPPED[operator], constant(other, parameters))
                case In(operand=Path(steps=steps), choices=choices):
                    values = [constant(choice, parameters) for choice in choices]
                    if UNDEFINED not in values:
                        self._choices[steps] = [Bound("=", value) for value in values]
                case _:
                    pass

    def _add(self, steps: Steps, operator: str, value: Any) -> None:
        if value is not UNDEFINED:
            self._ranges.setdefault(steps, []).append(Bound(operator, value))

    def span(self, steps: Steps, index: list[IndexKey]) -> Span:
        """Give the part of an index that begins with a path which may satisfy the condition."""
        start, end = 0, len(index)
        for bound in self._ranges.get(steps, ()):
            low, high = bound.span(index)
            start, end = max(start, low), min(end, high)
        return start, max(start, end)

    @property
    def selective(self) -> set[Steps]:
        """The paths that are compared for equality with one or several values."""
        equal = {steps for steps, bounds in self._ranges.items() if any(b.operator == "=" for b in bounds)}
        return equal | set(self._choices)

    def spans(self, steps: Steps, index: list[IndexKey]) -> list[Span]:
        """Give the parts of a path's own index that satisfy its equality."""
        if steps in self._ranges:
            return [self.span(steps, index)]
        return sorted({bound.span(index) for bound in self._choices[steps]})


def _conjuncts(condition: Node | None) -> Iterator[Node]:
    if isinstance(condition, And):
        for part in condition.operands:
            yield from _conjuncts(part)
    elif condition is not None:
        yield condition
