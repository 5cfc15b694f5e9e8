"""Partition keys: one path, hashed by version 2, as headers carry them and ranges hold them.

Sources: "Partitioning and horizontal scaling in Azure Cosmos DB", the SDK's own computation of
effective partition keys, with which this one must agree.
"""

import struct
from functools import lru_cache
from typing import Any

import mmh3
import orjson

from ops.emulators.cosmos.errors import PARTITION_KEY_MISMATCH, CosmosError, outside_subset
from ops.emulators.cosmos.values import UNDEFINED, as_array, at, rank, same

MAX_KEY_BYTES = 2048

#: Effective partition keys lie below this: the two highest of their 128 bits are cleared.
KEY_SPACE = 1 << 126

#: A partition key value with its type, so that 1 and true are two partitions.
Key = tuple[int, Any]


def parse_paths(paths: object) -> tuple[str, ...]:
    """Read the ``paths`` of a partition key definition.

    Raises:
      CosmosError: It is not one path of property names.
    """
    given = as_array(paths) or []
    if len(given) != 1:
        raise outside_subset("a partition key of more or less than one path")
    path = str(given[0])
    names = tuple(name.strip('"') for name in path.removeprefix("/").split("/"))
    if not path.startswith("/") or not all(names):
        raise CosmosError(400, f"The partition key path '{path}' is invalid.")
    return names


@lru_cache(maxsize=4096)
def parse_header(header: str) -> Key:
    """Read the header ``x-ms-documentdb-partitionkey``: a JSON array of one scalar.

    Raises:
      CosmosError: It is something else.
    """
    try:
        values = as_array(orjson.loads(header))
    except ValueError:
        raise CosmosError(400, f"Partition key {header} is invalid.") from None
    if values is None or len(values) != 1:
        raise CosmosError(400, f"Partition key {header} has another number of components than the container.")
    return as_key(values[0])


def as_key(value: object) -> Key:
    """Check a partition key value.

    Raises:
      CosmosError: It is no scalar, or too long.
    """
    if isinstance(value, dict) or value is UNDEFINED:
        raise outside_subset("an item without a partition key value")
    if isinstance(value, list):
        raise CosmosError(400, "A partition key value must be a string, a number, a boolean or null.")
    if isinstance(value, str) and len(value.encode()) > MAX_KEY_BYTES:
        raise CosmosError(400, f"The partition key value is longer than {MAX_KEY_BYTES} bytes.")
    return (rank(value), value)


def require_match(body: dict[str, Any], path: tuple[str, ...], key: Key) -> None:
    """Check that a document belongs to the partition that its request names.

    Raises:
      CosmosError: It does not.
    """
    if not same(at(body, path), key[1]):
        raise CosmosError(
            400,
            "PartitionKey extracted from document doesn't match the one specified in the header.",
            substatus=PARTITION_KEY_MISMATCH,
        )


@lru_cache(maxsize=65536)
def effective_key(key: Key) -> int:
    """Hash a partition key to its place in the key space, version 2: MurmurHash3, 128 bits."""
    place, value = key
    if place == 1:
        encoded = b"\x01"
    elif place == 2:
        encoded = b"\x03" if value else b"\x02"
    elif place == 4:
        encoded = b"\x05" + struct.pack("<d", value)
    else:
        encoded = b"\x08" + value.encode() + b"\xff"
    digest = mmh3.mmh3_x64_128_digest(encoded)
    return int.from_bytes(digest, "little") & (KEY_SPACE - 1)


def boundary(place: int) -> str:
    """Write a place in the key space as ranges name it: empty for the start, FF for the end."""
    if place == 0:
        return ""
    return "FF" if place >= KEY_SPACE else f"{place:032X}"
