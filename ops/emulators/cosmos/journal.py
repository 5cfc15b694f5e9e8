"""Keeps an account in a SQLite file, written before a request is answered.

A write is there after the process is killed. It is not synchronised to the disk: what this emulates
does not lose writes when a machine stops, but an emulator's files need not survive that.
"""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from ops.emulators.cosmos.container import Container
from ops.emulators.cosmos.documents import examine
from ops.emulators.cosmos.errors import CosmosError
from ops.emulators.cosmos.partition_key import Key
from ops.emulators.cosmos.versions import Version

_TABLES = """
CREATE TABLE IF NOT EXISTS databases (id TEXT PRIMARY KEY, properties BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS containers (
    rid TEXT PRIMARY KEY, database TEXT NOT NULL, ranges INTEGER NOT NULL, properties BLOB NOT NULL,
    last_number INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS ranges (
    container TEXT NOT NULL, id TEXT NOT NULL, lsn INTEGER NOT NULL, PRIMARY KEY (container, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS documents (
    container TEXT NOT NULL, number INTEGER NOT NULL, key BLOB NOT NULL, lsn INTEGER NOT NULL,
    expires REAL, body BLOB NOT NULL, PRIMARY KEY (container, number)
);
"""


class Journal:
    """The file of an account.

    Parameters:
      path: The file; made with its folder when missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._connection = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=WAL", "synchronous=OFF", "locking_mode=EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.executescript(_TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # What was written

    def databases(self) -> list[dict[str, Any]]:
        """Give the properties of each database."""
        rows = self._connection.execute("SELECT properties FROM databases ORDER BY rowid")
        return [orjson.loads(properties) for (properties,) in rows]

    def containers(self) -> list[tuple[str, int, dict[str, Any]]]:
        """Give database, number of ranges and properties of each container."""
        rows = self._connection.execute("SELECT database, ranges, properties FROM containers ORDER BY rowid")
        return [(database, ranges, orjson.loads(properties)) for database, ranges, properties in rows]

    def fill(self, container: Container) -> None:
        """Put a container's documents back, all of them visible to everybody."""
        row = self._connection.execute(
            "SELECT last_number FROM containers WHERE rid = ?", (container.rid,)
        ).fetchone()
        container.last_number = row[0]
        for key, lsn, version in self._versions(container):
            held = container.range_of(key)
            partition = container.partition(key)
            body = version.body or {}
            held.publish(partition, [(body["id"], version)], 0.0)
            version.lsn = lsn
            container.watch(held, partition, partition.documents[body["id"]])
            for taken, values in zip(partition.unique, container.unique_values(body), strict=True):
                taken[values] = body["id"]
        lsns = dict(
            self._connection.execute("SELECT id, lsn FROM ranges WHERE container = ?", (container.rid,))
        )
        for held in container.ranges:
            held.recent.clear()
            held.lsn = lsns.get(held.id, 0)

    def _versions(self, container: Container) -> Iterator[tuple[Key, int, Version]]:
        rows = self._connection.execute(
            "SELECT number, key, lsn, expires, body FROM documents WHERE container = ? ORDER BY number",
            (container.rid,),
        )
        for number, key, lsn, expires, raw in rows:
            place, value = orjson.loads(key)
            body = orjson.loads(raw)
            cost = examine(body, container.policy).indexed_values
            yield (place, value), lsn, Version(body, raw, number, expires, cost)

    # Writing

    def write(
        self, container: Container, key: Key, lsn: int, written: list[Version], deleted: list[int]
    ) -> None:
        """Keep one write of a range: all of its changes, or none.

        Parameters:
          container: The container.
          key: The partition key value.
          lsn: The sequence number of the write.
          written: The documents as they are now.
          deleted: The numbers of documents that are gone.

        Raises:
          CosmosError: The file cannot be written; nothing was changed.
        """
        rid, encoded = container.rid, orjson.dumps(key)
        statements: list[tuple[str, tuple[Any, ...]]] = [
            ("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?)", (rid, container.range_of(key).id, lsn)),
            ("UPDATE containers SET last_number = ? WHERE rid = ?", (container.last_number, rid)),
            *_forgetting(rid, deleted),
        ]
        for version in written:
            values = (rid, version.number, encoded, lsn, version.expires, version.raw)
            statements.append(("INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?)", values))
        self._together(statements)

    def forget(self, container: Container, numbers: list[int]) -> None:
        """Drop documents that have expired."""
        self._together(_forgetting(container.rid, numbers))

    def save_database(self, properties: dict[str, Any]) -> None:
        """Keep a database."""
        values = (properties["id"], orjson.dumps(properties))
        self._together([("INSERT INTO databases VALUES (?, ?)", values)])

    def delete_database(self, name: str) -> None:
        """Drop a database with its containers."""
        rows = self._connection.execute("SELECT rid FROM containers WHERE database = ?", (name,)).fetchall()
        self._together(
            [statement for (rid,) in rows for statement in _dropping(rid)]
            + [("DELETE FROM databases WHERE id = ?", (name,))]
        )

    def save_container(self, database: str, ranges: int, properties: dict[str, Any]) -> None:
        """Keep a container's properties."""
        sql = (
            "INSERT INTO containers (rid, database, ranges, properties) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (rid) DO UPDATE SET properties = excluded.properties"
        )
        self._together([(sql, (properties["_rid"], database, ranges, orjson.dumps(properties)))])

    def delete_container(self, rid: str) -> None:
        """Drop a container with its documents."""
        self._together(_dropping(rid))

    def _together(self, statements: list[tuple[str, tuple[Any, ...]]]) -> None:
        """Run statements in one transaction."""
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for sql, values in statements:
                self._connection.execute(sql, values)
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise CosmosError(503, f"The emulator cannot write its file: {error}.") from error


def _forgetting(rid: str, numbers: list[int]) -> list[tuple[str, tuple[Any, ...]]]:
    return [("DELETE FROM documents WHERE container = ? AND number = ?", (rid, number)) for number in numbers]


def _dropping(rid: str) -> list[tuple[str, tuple[Any, ...]]]:
    return [
        ("DELETE FROM documents WHERE container = ?", (rid,)),
        ("DELETE FROM ranges WHERE container = ?", (rid,)),
        ("DELETE FROM containers WHERE rid = ?", (rid,)),
    ]
