"""Tells whether two stores hold the same documents, in whatever order and form of numbers they give them."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

from lightning.storage import Body

_MODULUS = 2**256


@dataclass(slots=True)
class Digest:
    """Of a set of documents: how many, and the sum of their SHA-256, which no order changes."""

    documents: int = 0
    total: int = 0

    def add(self, bodies: Iterable[Body]) -> None:
        """Take in further documents."""
        for body in bodies:
            self.documents += 1
            self.total = (self.total + int.from_bytes(hashlib.sha256(_text(body)).digest())) % _MODULUS


def same(one: Body, other: Body) -> bool:
    """Tell whether two documents say the same."""
    return _text(one) == _text(other)


def _text(body: Body) -> bytes:
    return json.dumps(_plain(body), sort_keys=True, separators=(",", ":")).encode()


def _plain(value: Any) -> Any:
    """Write whole numbers as integers: JSON has one kind of number, and Cosmos DB gives 5.0 back as 5."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_plain(element) for element in cast("list[Any]", value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value
