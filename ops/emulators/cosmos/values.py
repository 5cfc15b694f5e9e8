"""JSON values as Cosmos DB orders and compares them.

Sources: "Equality and comparison operators in Azure Cosmos DB for NoSQL", "ORDER BY (NoSQL query)".
"""

from enum import Enum
from typing import Any, Final, cast


class _Undefined(Enum):
    UNDEFINED = 0


#: The value of a property that is not there, and of an expression that has none.
UNDEFINED: Final = _Undefined.UNDEFINED

#: The order of types in an index: undefined, null, booleans, numbers, strings, arrays, objects.
RANK_OF_STRING = 5
_RANKS: dict[type, int] = {
    _Undefined: 0,
    type(None): 1,
    bool: 2,
    int: 4,
    float: 4,
    str: RANK_OF_STRING,
    list: 6,
    dict: 7,
}

#: What a value sorts by whose type has only one value, or no order among its values.
NOTHING = frozenset({(0, 0), (1, 0), (6, 0), (7, 0)})

#: The greatest whole number that a double holds together with all smaller ones.
MAX_SAFE_INTEGER = 2**53 - 1


def rank(value: object) -> int:
    """Give the place of a value's type in the order of types."""
    return _RANKS[type(value)]


def sort_key(value: Any) -> tuple[int, Any]:
    """Give what a value sorts by: its type first; arrays and objects among themselves are equal."""
    place = _RANKS[type(value)]
    return (place, value) if place in {2, 4, 5} else (place, 0)


def same(left: object, right: object) -> bool:
    """Compare two JSON values of any depth without taking a boolean for a number."""
    if rank(left) != rank(right):
        return False
    if isinstance(left, list):
        one, other = cast("list[object]", left), cast("list[object]", right)
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(left, dict):
        first, second = cast("dict[str, object]", left), cast("dict[str, object]", right)
        return first.keys() == second.keys() and all(same(first[name], second[name]) for name in first)
    return left == right


def as_object(value: object) -> dict[str, Any] | None:
    """Give a value that came as JSON if it is an object."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def as_array(value: object) -> list[Any] | None:
    """Give a value that came as JSON if it is an array."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    """Follow a path of property names and array indexes; `UNDEFINED` where it ends early."""
    for step in path:
        if isinstance(step, str):
            value = (as_object(value) or {}).get(step, UNDEFINED)
        else:
            array = as_array(value) or []
            value = array[step] if step < len(array) else UNDEFINED
    return value
