"""What a document must be.

Source: "Azure Cosmos DB service quotas", "per-item limits".
"""

from dataclasses import dataclass
from typing import Any, cast

from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.indexing import ANY_ELEMENT, IndexingPolicy
from ops.emulators.cosmos.values import MAX_SAFE_INTEGER

MAX_ID_BYTES = 1023
MAX_DEPTH = 128

SYSTEM_PROPERTIES = frozenset({"_rid", "_self", "_etag", "_attachments", "_ts"})

_FORBIDDEN_IN_ID = frozenset("/\\?#")


@dataclass(slots=True)
class Shape:
    """What examining a document found."""

    indexed_values: int = 0


def check_id(body: dict[str, Any]) -> str:
    """Give a document's id.

    Raises:
      CosmosError: It has none, or an invalid one.
    """
    given = body.get("id")
    if not isinstance(given, str) or not given:
        raise CosmosError(400, "The input content is invalid because the required property 'id' is missing.")
    if len(given.encode()) > MAX_ID_BYTES or not _FORBIDDEN_IN_ID.isdisjoint(given):
        raise CosmosError(400, f"The id '{given[:50]}' is over {MAX_ID_BYTES} bytes or contains / \\ ? or #.")
    return given


def examine(body: dict[str, Any], policy: IndexingPolicy) -> Shape:
    """Look through a document.

    Raises:
      CosmosError: It is nested too deep, its ``ttl`` is invalid, or a number in it would lose digits.
    """
    ttl = body.get("ttl", -1)
    if type(ttl) is not int or (ttl != -1 and not 0 < ttl < 2**31):
        raise CosmosError(400, "The input ttl is invalid: it must be a positive whole number, or -1.")
    shape = Shape()
    _walk(body, (), policy, shape)
    return shape


def _walk(value: Any, path: tuple[str, ...], policy: IndexingPolicy, shape: Shape) -> None:
    if len(path) > MAX_DEPTH:
        raise CosmosError(400, f"The document is nested deeper than {MAX_DEPTH} levels.")
    if type(value) is dict:
        for name, member in cast("dict[str, Any]", value).items():
            if name not in SYSTEM_PROPERTIES:
                _walk(member, (*path, name), policy, shape)
    elif type(value) is list:
        for element in cast("list[Any]", value):
            _walk(element, (*path, ANY_ELEMENT), policy, shape)
    else:
        if type(value) is int and not -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
            raise CosmosError(400, f"The number {value} has more digits than Azure Cosmos DB keeps (2^53).")
        if policy.includes(path):
            shape.indexed_values += 1
