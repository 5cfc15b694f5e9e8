"""Documents with the versions that some reader may still see, and their sorted indexes."""

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

from ops.emulators.cosmos.values import at, sort_key

#: A path of ORDER BY; none at all orders by creation.
Paths = tuple[tuple[str | int, ...], ...]

#: What an index sorts by: type and value for each path, then the number of the document.
IndexKey = tuple[Any, ...]


class Version:
    """One version of a document; without a body, the mark of its deletion.

    Parameters:
      body: The document with its system properties.
      raw: The same as JSON.
      number: The document's number within its container, in order of creation.
      expires: When it expires, in seconds since 1970.
      cost: What the charge for its write depends on: how many of its values are indexed.
    """

    __slots__ = ("body", "cost", "expires", "lsn", "number", "previous", "raw")

    def __init__(
        self, body: dict[str, Any] | None, raw: bytes, number: int, expires: float | None, cost: int
    ) -> None:
        self.body = body
        self.raw = raw
        self.number = number
        self.expires = expires
        self.cost = cost
        self.lsn = 0
        self.previous: Version | None = None

    def is_live(self, now: float) -> bool:
        """Say whether there is such a document, at a time."""
        return self.body is not None and (self.expires is None or self.expires > now)

    @property
    def etag(self) -> str:
        """The version's etag, with its quotation marks."""
        return "" if self.body is None else self.body["_etag"]

    def key(self, paths: Paths) -> IndexKey:
        """Give what the version sorts by."""
        key: list[Any] = []
        for path in paths:
            key += sort_key(at(self.body, path))
        key.append(self.number)
        return tuple(key)


class Item:
    """A document through time, newest version first."""

    __slots__ = ("head", "id")

    def __init__(self, id: str, head: Version) -> None:
        self.id = id
        self.head = head

    def as_of(self, lsn: int) -> Version | None:
        """Give the version that was current at a log sequence number."""
        version: Version | None = self.head
        while version is not None and version.lsn > lsn:
            version = version.previous
        return version


class Collection:
    """Items that queries look through together: those of a partition, or of a whole range.

    An index is built when a query first wants it and kept up from then on.
    """

    def __init__(self) -> None:
        self.items: dict[int, Item] = {}
        self._indexes: dict[Paths, list[IndexKey]] = {}

    def index(self, paths: Paths) -> list[IndexKey]:
        """Give the sorted keys of the newest versions."""
        entries = self._indexes.get(paths)
        if entries is None:
            entries = self._indexes[paths] = sorted(item.head.key(paths) for item in self.items.values())
        return entries

    def change(self, item: Item, before: Version | None, after: Version | None) -> None:
        """Replace an item's newest version."""
        if before is not None:
            del self.items[before.number]
        if after is not None:
            self.items[after.number] = item
        for paths, entries in self._indexes.items():
            removed = None if before is None else before.key(paths)
            added = None if after is None else after.key(paths)
            if removed == added:
                continue
            if removed is not None:
                del entries[bisect_left(entries, removed)]
            if added is not None:
                insort(entries, added)

    def items_of(self, keys: Iterable[IndexKey]) -> Iterable[Item]:
        """Give the items that index keys belong to."""
        return (self.items[key[-1]] for key in keys)
