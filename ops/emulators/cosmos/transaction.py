"""Writes to one partition that all happen or none does.

Source: "Transactional batch operations in Azure Cosmos DB", "Unique key constraints".
"""

import uuid
from typing import Any

import orjson

from ops.emulators.cosmos.container import Container
from ops.emulators.cosmos.documents import Shape, check_id, examine
from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.journal import Journal
from ops.emulators.cosmos.partition_key import Key, require_match
from ops.emulators.cosmos.rids import document_rid
from ops.emulators.cosmos.versions import Version

MAX_DOCUMENT_BYTES = 2 * 1024 * 1024


class Transaction:
    """Collects writes to one partition, each seeing those before it.

    Parameters:
      container: The container.
      key: The partition key value of every document.
      now: The time, in seconds since 1970.
    """

    def __init__(self, container: Container, key: Key, now: float) -> None:
        self._container = container
        self._key = key
        self._now = now
        self._range = container.range_of(key)
        self._partition = container.partition(key)
        self._staged: dict[str, Version] = {}
        self._owners: list[dict[tuple[Any, ...], str | None]] = [{} for _ in container.unique_paths]

    def find(self, id: str) -> Version | None:
        """Read a document as it stands within the transaction."""
        version = self._staged.get(id)
        if version is None:
            item = self._partition.documents.get(id)
            version = None if item is None else item.head
        return version if version is not None and version.is_live(self._now) else None

    def put(self, body: dict[str, Any], before: Version | None) -> Version:
        """Write a document in the place of a version, or as a new one.

        Raises:
          CosmosError: The document is invalid, too large, in another partition or not unique.
        """
        name = check_id(body)
        require_match(body, self._container.key_path, self._key)
        shape = examine(body, self._container.policy)
        self._claim(name, body, before)
        version = self._version(body, before, shape)
        self._staged[name] = version
        return version

    def _version(self, body: dict[str, Any], before: Version | None, shape: Shape) -> Version:
        if before is None:
            self._container.last_number += 1
            number = self._container.last_number
        else:
            number = before.number
        rid = document_rid(self._container.rid, number)
        written = {
            **body,
            "_rid": rid,
            "_self": f"{self._container.properties['_self']}docs/{rid}/",
            "_etag": f'"{uuid.uuid4()}"',
            "_attachments": "attachments/",
            "_ts": int(self._now),
        }
        raw = orjson.dumps(written)
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise CosmosError(413, "Request size is too large: a document has at most 2 MB.")
        expires = self._container.expires(body, self._now)
        return Version(written, raw, number, expires, shape.indexed_values)

    def delete(self, id: str, before: Version) -> None:
        """Remove a document."""
        self._release(id, before)
        self._staged[id] = Version(None, b"", before.number, None, before.cost)

    def _claim(self, id: str, body: dict[str, Any], before: Version | None) -> None:
        if before is not None:
            self._release(id, before)
        for place, values in enumerate(self._container.unique_values(body)):
            owner = self._owners[place].get(values, self._partition.unique[place].get(values))
            if owner is not None and owner != id and self.find(owner) is not None:
                raise CosmosError(409, "Unique index constraint violation.")
            self._owners[place][values] = id

    def _release(self, id: str, before: Version) -> None:
        for place, values in enumerate(self._container.unique_values(before.body or {})):
            if self._owners[place].get(values, id) == id:
                self._owners[place][values] = None

    def commit(self, journal: Journal | None) -> int:
        """Make the writes durable, then current. Returns their log sequence number."""
        if not self._staged:
            return self._range.lsn
        changes = list(self._staged.items())
        if journal is not None:
            written = [version for _, version in changes if version.body is not None]
            journal.write(self._container, self._key, self._range.lsn + 1, written, self._replaced())
        for taken, owners in zip(self._partition.unique, self._owners, strict=True):
            for values, owner in owners.items():
                if owner is None:
                    taken.pop(values, None)
                else:
                    taken[values] = owner
        self._range.publish(self._partition, changes, self._now)
        for name in self._staged:
            self._container.watch(self._range, self._partition, self._partition.documents[name])
        self._range.visible(self._container.lag, self._now)  # what nobody may read any more is let go
        return self._range.lsn

    def _replaced(self) -> list[int]:
        """Give the numbers of documents that are deleted, even if another takes the place."""
        numbers: list[int] = []
        for name, version in self._staged.items():
            item = self._partition.documents.get(name)
            if (
                item is not None
                and item.head.body is not None
                and (version.body is None or version.number != item.head.number)
            ):
                numbers.append(item.head.number)
        return numbers
