"""A request of the wire, and an answer.

Source: "Common Azure Cosmos DB REST request headers", "... response headers".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import orjson

from ops.emulators.cosmos.charges import LEAST
from ops.emulators.cosmos.errors import CosmosError, outside_subset
from ops.emulators.cosmos.partition_key import Key, parse_header

RESOURCES = ("dbs", "colls", "docs", "pkranges")

MAX_BODY_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """What a URL's path names.

    Parameters:
      kind: The last type of resource in it; empty for the account.
      names: The names of database, container and document, as far as it goes.
      link: The resource that the request's signature covers: the one named, or the feed's owner.
    """

    kind: str
    names: tuple[str, ...]
    link: str

    @property
    def is_feed(self) -> bool:
        """Whether the path ends with a type, not with a name."""
        return len(self.names) < {"": 0, "dbs": 1, "colls": 2, "docs": 3, "pkranges": 3}[self.kind]

    @property
    def container_link(self) -> str:
        """The path of the container."""
        return f"dbs/{self.names[0]}/colls/{self.names[1]}"


@lru_cache(maxsize=4096)
def parse_path(path: str) -> Address:
    """Read the path of a URL, still with its percent signs.

    Raises:
      CosmosError: It names something outside the subset.
    """
    parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
    kinds, names = parts[::2], tuple(parts[1::2])
    expected = ["dbs", "colls", kinds[2] if len(kinds) > 2 else ""][: len(kinds)]
    if kinds != expected or (kinds and kinds[-1] not in RESOURCES):
        raise outside_subset(f"the resource {path}")
    owner = parts if len(parts) % 2 == 0 else parts[:-1]
    return Address(kinds[-1] if kinds else "", names, "/".join(owner))


@dataclass(frozen=True, slots=True)
class Request:
    """A request, its headers by their names in small letters."""

    method: str
    address: Address
    headers: Mapping[str, str]
    body: bytes

    def flag(self, header: str) -> bool:
        """Say whether a header is true."""
        return self.headers.get(header, "").lower() == "true"

    @property
    def json(self) -> Any:
        """The body.

        Raises:
          CosmosError: It is no JSON.
        """
        try:
            return orjson.loads(self.body)
        except ValueError:
            raise CosmosError(400, "The request body is not valid JSON.") from None

    @property
    def document(self) -> dict[str, Any]:
        """The body, an object.

        Raises:
          CosmosError: It is something else.
        """
        body = self.json
        if not isinstance(body, dict):
            raise CosmosError(400, "The request body must be a JSON object.")
        return cast("dict[str, Any]", body)

    @property
    def key(self) -> Key:
        """The partition key value.

        Raises:
          CosmosError: It is missing or invalid.
        """
        header = self.headers.get("x-ms-documentdb-partitionkey")
        if header is None:
            raise CosmosError(400, "PartitionKey value must be supplied for this operation.")
        return parse_header(header)


@dataclass(slots=True)
class Answer:
    """An answer: its status, its body as JSON and its headers."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])
    charge: float = LEAST
