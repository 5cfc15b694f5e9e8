"""Continuation tokens: where a query goes on, opaque to the client and bound to its query."""

import base64
import binascii
import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.values import NOTHING, as_array, sort_key


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a query goes on.

    Parameters:
      query: A digest of the query and its parameters.
      range: The id of the range.
      after: The index key of the last document that was looked at; None: from the range's start.
      skip: How many results are still left out, by OFFSET.
      left: How many results may still be given, by TOP or LIMIT; None: all.
    """

    query: str
    range: str
    after: list[Any] | None
    skip: int
    left: int | None

    def token(self) -> str:
        """Write it for the header."""
        return base64.b64encode(orjson.dumps(asdict(self))).decode()


def digest(text: str, parameters: object) -> str:
    """Name a query with its parameters."""
    return hashlib.blake2b(text.encode() + b"\0" + orjson.dumps(parameters), digest_size=8).hexdigest()


def read_token(token: str, query: str, ranges: set[str], paths: int) -> Continuation:
    """Read a token that came back.

    Parameters:
      token: The token.
      query: The digest of the query.
      ranges: The ids of the ranges that the query may look at.
      paths: By how many paths the query orders.

    Raises:
      CosmosError: It is not one of ours, or belongs to another query.
    """
    try:
        values = orjson.loads(base64.b64decode(token, validate=True))
        found = Continuation(**values)
        after = as_array(found.after)
        fits = (
            found.query == query
            and found.range in ranges
            and _is_count(found.skip)
            and (found.left is None or _is_count(found.left))
            and (after is None or _is_key(after, paths))
        )
    except (ValueError, TypeError, binascii.Error):
        fits = False
    if not fits:
        raise CosmosError(400, "The continuation token is invalid, or of another query.")
    return found  # pyright: ignore[reportPossiblyUnboundVariable]


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_key(after: list[Any], paths: int) -> bool:
    """Check the form of an index key: type and value for each path, and a number."""
    pairs = zip(after[:-1:2], after[1::2], strict=False)
    return (
        len(after) == 2 * paths + 1
        and _is_count(after[-1])
        and all((place, value) in NOTHING or sort_key(value) == (place, value) for place, value in pairs)
    )
