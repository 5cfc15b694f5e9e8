"""Storage on one machine: a SQLite file, written durably, shared by processes."""

import base64
import binascii
import secrets
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from lightning.errors import Conflict, Permanent, PreconditionFailed
from lightning.storage.port import (
    CONTAINERS,
    Body,
    Build,
    Create,
    Delete,
    Operation,
    Page,
    Replace,
    Stored,
    Where,
)
from lightning.storage.writer import Writer, unavailable

#: The limits of a transactional batch of Cosmos DB, with room for the head document.
MAX_OPERATIONS = 100
MAX_BATCH_BYTES = 2 * 1024 * 1024

#: Pages (4 KiB) in the log file before it is copied back: rare enough not to be felt, small enough to read.
CHECKPOINT_PAGES = 4_000


class SqliteStorage:
    """The storage port on a SQLite file (WAL, ``synchronous=FULL``).

    Parameters:
      path: The database file; made with its folder when missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with _connect(path) as connection:
            _create_tables(connection)
        connection.close()
        self._reader = _connect(path)
        self._writer = Writer(path, lambda: _connect(path))

    async def get(self, container: str, partition: str, id: str) -> Stored | None:
        """Read one document; see `Storage.get`."""
        try:
            return _get(self._reader, container, partition, id)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def batch(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply all operations or none; see `Storage.batch`."""
        return await self._writer.write(
            lambda connection: _apply(connection, container, partition, operations)
        )

    async def batch_on(self, container: str, partition: str, pivot: str, build: Build) -> list[str]:
        """Apply what ``build`` makes of the pivot, within one transaction; see `Storage.batch_on`."""

        def write(connection: sqlite3.Connection) -> list[str]:
            operations = build(_get(connection, container, partition, pivot))
            return _apply(connection, container, partition, operations)

        return await self._writer.write(write)

    async def query(
        self,
        container: str,
        partition: str | None,
        where: Sequence[Where] = (),
        *,
        order_by: str = "id",
        descending: bool = False,
        limit: int = 100,
        page: str | None = None,
    ) -> Page:
        """Read documents in order; see `Storage.query`."""
        sql, values = _select(container, partition, where, order_by, descending=descending, page=page)
        try:
            rows = self._reader.execute(f"{sql} LIMIT ?", [*values, limit + 1]).fetchall()
        except sqlite3.Error as error:
            raise unavailable(error) from error
        items = [Stored(orjson.loads(body), etag) for etag, body, _, _ in rows[:limit]]
        more = _page_token(rows[limit - 1][2], rows[limit - 1][3]) if len(rows) > limit else None
        return Page(items, more)

    def session(self, container: str) -> str | None:
        """Need no token: all processes read the same file; see `Storage.session`."""
        del container

    def resume(self, container: str, token: str) -> None:
        """Read the present anyway; see `Storage.resume`."""
        del container, token

    async def close(self) -> None:
        """Finish the writes under way and close the file."""
        await self._writer.close()
        self._reader.close()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=5, cached_statements=256
    )
    # the file lock of the writer keeps order; the busy handler is for a backup tool that holds the file
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        "cache_size=-32768",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _create_tables(connection: sqlite3.Connection) -> None:
    for name, container in CONTAINERS.items():
        columns = "".join(f', "{field}"' for field in container.fields)
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {name} (userID TEXT NOT NULL, id TEXT NOT NULL,"
            f" etag TEXT NOT NULL{columns}, body BLOB NOT NULL, PRIMARY KEY (userID, id))"
        )
        _add_columns(connection, name, container.fields)
        for fields in container.indexes:
            last = fields[-1]
            connection.execute(
                f"CREATE INDEX IF NOT EXISTS {name}_{'_'.join(fields)} ON {name} ({', '.join(fields)})"
                f" WHERE {last} IS NOT NULL"
            )


def _add_columns(connection: sqlite3.Connection, container: str, fields: tuple[str, ...]) -> None:
    """Give a file of an older version the fields that were declared since, filled from its documents."""
    if not _missing(connection, container, fields):
        return
    connection.execute("BEGIN IMMEDIATE")  # processes that start together: one of them does it
    for field in _missing(connection, container, fields):
        connection.execute(f'ALTER TABLE {container} ADD COLUMN "{field}"')
        connection.execute(
            f"UPDATE {container} SET \"{field}\" = json_extract(CAST(body AS TEXT), '$.{field}')"  # noqa: S608
        )
    connection.execute("COMMIT")


def _missing(connection: sqlite3.Connection, container: str, fields: tuple[str, ...]) -> list[str]:
    known = {row[1] for row in connection.execute(f"PRAGMA table_info({container})")}
    return [field for field in fields if field not in known]


def _get(connection: sqlite3.Connection, container: str, partition: str, document: str) -> Stored | None:
    row = connection.execute(
        f"SELECT etag, body FROM {container} WHERE userID = ? AND id = ?",  # noqa: S608 -- a name of our table
        (partition, document),
    ).fetchone()
    return None if row is None else Stored(orjson.loads(row[1]), row[0])


def _apply(
    connection: sqlite3.Connection, container: str, partition: str, operations: Sequence[Operation]
) -> list[str]:
    """Check every condition, then write; so that a refusal leaves nothing behind."""
    if len(operations) > MAX_OPERATIONS:
        raise Permanent(f"{len(operations)} operations in a batch of at most 100", code="output_too_large")
    bodies: list[tuple[Operation, str, bytes]] = []
    for operation in operations:
        _check(connection, container, partition, operation)
        body = b"" if isinstance(operation, Delete) else orjson.dumps(operation.body)
        bodies.append((operation, "" if isinstance(operation, Delete) else secrets.token_hex(8), body))
    if len({_id(operation) for operation in operations}) < len(operations):
        raise ValueError("a batch names one document twice")
    if sum(len(body) for _, _, body in bodies) > MAX_BATCH_BYTES:
        raise Permanent("a batch over 2 MiB", code="output_too_large")
    for operation, etag, body in bodies:
        _write(connection, container, partition, operation, etag, body)
    return [etag for _, etag, _ in bodies]


def _id(operation: Operation) -> str:
    return operation.id if isinstance(operation, Delete) else operation.body["id"]


def _check(connection: sqlite3.Connection, container: str, partition: str, operation: Operation) -> None:
    if not isinstance(operation, Delete) and operation.body.get("userID") != partition:
        raise ValueError("a document outside the partition of its batch")
    row = connection.execute(
        f"SELECT etag FROM {container} WHERE userID = ? AND id = ?",  # noqa: S608 -- a name of our table
        (partition, _id(operation)),
    ).fetchone()
    if isinstance(operation, Create) and row is not None:
        raise Conflict(f"{container}/{_id(operation)} exists", pointer=_id(operation))
    expected = operation.etag if isinstance(operation, Replace | Delete) else None
    if expected is not None and (row is None or row[0] != expected):
        raise PreconditionFailed(f"{container}/{_id(operation)} was changed", pointer=_id(operation))


def _write(
    connection: sqlite3.Connection,
    container: str,
    partition: str,
    operation: Operation,
    etag: str,
    body: bytes,
) -> None:
    if isinstance(operation, Delete):
        connection.execute(
            f"DELETE FROM {container} WHERE userID = ? AND id = ?",  # noqa: S608 -- a name of our table
            (partition, operation.id),
        )
        return
    document: Body = operation.body
    fields = CONTAINERS[container].fields
    values = [partition, document["id"], etag, body, *(document.get(field) for field in fields)]
    connection.execute(_insert_sql(container, fields), values)


@lru_cache
def _insert_sql(container: str, fields: tuple[str, ...]) -> str:
    names = ("userID", "id", "etag", "body", *fields)
    changes = ", ".join(f"{name} = excluded.{name}" for name in names[2:])
    return (
        f"INSERT INTO {container} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
        f" ON CONFLICT (userID, id) DO UPDATE SET {changes}"
    )


def _select(
    container: str,
    partition: str | None,
    where: Sequence[Where],
    order_by: str,
    *,
    descending: bool,
    page: str | None,
) -> tuple[str, list[Any]]:
    known = {"id", *CONTAINERS[container].fields}
    for field in (order_by, *(condition.field for condition in where)):
        if field not in known:
            raise ValueError(f"{container} has no declared field {field!r}")
    clauses, values = ([], []) if partition is None else (["userID = ?"], [partition])
    clauses.append(f"{order_by} IS NOT NULL")
    for condition in where:
        if condition.compare == "in":
            clauses.append(f"{condition.field} IN ({', '.join('?' * len(condition.value))})")
            values.extend(condition.value)
        else:
            clauses.append(f"{condition.field} {condition.compare} ?")
            values.append(condition.value)
    if page is not None:
        clauses.append(f"({order_by}, id) {'<' if descending else '>'} (?, ?)")
        values.extend(_page_position(page))
    direction = "DESC" if descending else "ASC"
    return (
        f"SELECT etag, body, {order_by}, id FROM {container} WHERE {' AND '.join(clauses)}"  # noqa: S608
        f" ORDER BY {order_by} {direction}, id {direction}"
    ), values


def _page_token(value: Any, document: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([value, document])).decode()


def _page_position(token: str) -> list[Any]:
    position: Any = None
    with suppress(binascii.Error, ValueError):
        position = orjson.loads(base64.urlsafe_b64decode(token))
    if not isinstance(position, list) or len(position) != 2 or not _are_keys(position):  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError("the page token is not one that a page of this list gave")
    return position  # pyright: ignore[reportUnknownVariableType]


def _are_keys(position: list[Any]) -> bool:
    """Tell whether two values are a field to order by and an id, such as SQLite takes."""
    value, document = position
    ordered = isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 2**63)
    return ordered and isinstance(document, str)
