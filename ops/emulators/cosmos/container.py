"""A container: its properties, its ranges of partition keys and the log of each.

Sources: "Partitioning and horizontal scaling in Azure Cosmos DB"; "Consistency levels in Azure
Cosmos DB", for what a read without a session token may miss; "Unique key constraints"; "Time to
Live (TTL)".
"""

import heapq
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ops.emulators.cosmos.indexing import IndexingPolicy
from ops.emulators.cosmos.partition_key import KEY_SPACE, Key, boundary, effective_key, parse_paths
from ops.emulators.cosmos.values import UNDEFINED, at, sort_key
from ops.emulators.cosmos.versions import Collection, Item, Version


@dataclass(slots=True)
class Lag:
    """How far reads without a session token are behind.

    Parameters:
      seconds: A write may be missed while it is younger than this.
      writes: At most this many of the newest writes of a range are missed; None: any number.

    Raises:
      ValueError: A value is negative, or no number.
    """

    seconds: float
    writes: int | None = None

    def __post_init__(self) -> None:
        if not _is_amount(self.seconds) or not (self.writes is None or _is_amount(self.writes)):
            raise ValueError("the lag's seconds and writes must be numbers that are not negative")


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0


class Partition(Collection):
    """The documents of one partition key value."""

    def __init__(self, unique_keys: int) -> None:
        super().__init__()
        self.documents: dict[str, Item] = {}
        self.unique: list[dict[tuple[Any, ...], str]] = [{} for _ in range(unique_keys)]


@dataclass(slots=True)
class Commit:
    """One write of a range that readers without a token may not see yet."""

    lsn: int
    at: float
    changes: list[tuple[Partition, Item, Version]]


class Range(Collection):
    """A range of the key space, a physical partition, with its own log sequence numbers."""

    def __init__(self, id: str, low: int, high: int) -> None:
        super().__init__()
        self.id = id
        self.low, self.high = boundary(low), boundary(high)
        self.lsn = 0
        self.partitions: dict[Key, Partition] = {}
        self.recent: deque[Commit] = deque()

    def visible(self, lag: Lag, now: float) -> int:
        """Give the sequence number that a read without a session token is answered at."""
        while self.recent and (
            self.recent[0].at + lag.seconds <= now
            or (lag.writes is not None and len(self.recent) > lag.writes)
        ):
            for partition, item, version in self.recent.popleft().changes:
                _forget_before(partition, item, version)
        return self.recent[0].lsn - 1 if self.recent else self.lsn

    def publish(self, partition: Partition, changes: list[tuple[str, Version]], now: float) -> None:
        """Make the versions of one write current, under the next sequence number."""
        self.lsn += 1
        commit = Commit(self.lsn, now, [])
        for name, version in changes:
            version.lsn = self.lsn
            item = partition.documents.get(name)
            before = None
            if item is None:
                item = partition.documents[name] = Item(name, version)
            else:
                before = None if item.head.body is None else item.head
                version.previous, item.head = item.head, version
            after = None if version.body is None else version
            for collection in (partition, self):
                collection.change(item, before, after)
            commit.changes.append((partition, item, version))
        self.recent.append(commit)

    def remove(self, partition: Partition, item: Item, version: Version) -> None:
        """Take an expired document out."""
        del partition.documents[item.id]
        for collection in (partition, self):
            collection.change(item, version, None)


def _forget_before(partition: Partition, item: Item, version: Version) -> None:
    version.previous = None
    if version.body is None and item.head is version:
        partition.documents.pop(item.id, None)


class Container:
    """A container.

    Parameters:
      properties: Its resource, with the system properties.
      ranges: How many ranges of partition keys it has.
      lag: How far reads without a session token are behind.
    """

    def __init__(self, properties: dict[str, Any], ranges: int, lag: Lag) -> None:
        self.key_path = parse_paths(properties["partitionKey"]["paths"])
        self.unique_paths = [
            tuple(tuple(path.strip("/").split("/")) for path in key["paths"])
            for key in properties.get("uniqueKeyPolicy", {}).get("uniqueKeys", [])
        ]
        self.lag = lag
        self.last_number = 0
        steps = [KEY_SPACE * place // ranges for place in range(ranges + 1)]
        self.ranges = [Range(str(place), low, high) for place, (low, high) in enumerate(pairwise(steps))]
        self._expiring: list[tuple[float, int, Range, Partition, Item, Version]] = []
        self.use(properties)

    def use(self, properties: dict[str, Any]) -> None:
        """Take on changed properties.

        Raises:
          CosmosError: Its indexing policy is invalid.
        """
        self.policy = IndexingPolicy(properties["indexingPolicy"])
        self.properties = properties
        self.default_ttl: int | None = properties.get("defaultTtl")

    @property
    def rid(self) -> str:
        """The resource id."""
        return self.properties["_rid"]

    def range_of(self, key: Key) -> Range:
        """Give the range that holds a partition key."""
        return self.ranges[effective_key(key) * len(self.ranges) // KEY_SPACE]

    def partition(self, key: Key) -> Partition:
        """Give the partition of a key, made when it is the first time."""
        partitions = self.range_of(key).partitions
        found = partitions.get(key)
        if found is None:
            found = partitions[key] = Partition(len(self.unique_paths))
        return found

    def find(self, key: Key, id: str, lsn: int, now: float) -> Version | None:
        """Read a document as of a sequence number."""
        partition = self.range_of(key).partitions.get(key)
        item = None if partition is None else partition.documents.get(id)
        version = None if item is None else item.as_of(lsn)
        return version if version is not None and version.is_live(now) else None

    def unique_values(self, body: dict[str, Any]) -> list[tuple[Any, ...]]:
        """Give a document's values of each unique key; what is missing counts as null."""
        return [
            tuple(sort_key(None if (value := at(body, path)) is UNDEFINED else value) for path in paths)
            for paths in self.unique_paths
        ]

    def expires(self, body: dict[str, Any], now: float) -> float | None:
        """Say when a document that is written now expires."""
        if self.default_ttl is None:
            return None
        seconds = body.get("ttl", self.default_ttl)
        return None if seconds == -1 else int(now) + seconds

    def watch(self, holder: Range, partition: Partition, item: Item) -> None:
        """Remember to take a document out when it expires."""
        version = item.head
        if version.expires is not None:
            heapq.heappush(
                self._expiring, (version.expires, version.number, holder, partition, item, version)
            )

    def expire(self, now: float) -> list[Version]:
        """Take out what has expired. Returns it."""
        gone: list[Version] = []
        while self._expiring and self._expiring[0][0] <= now:
            _, _, holder, partition, item, version = heapq.heappop(self._expiring)
            if item.head is version and partition.documents.get(item.id) is item:
                holder.remove(partition, item, version)
                for taken, values in zip(
                    partition.unique, self.unique_values(version.body or {}), strict=True
                ):
                    taken.pop(values, None)
                gone.append(version)
        return gone
