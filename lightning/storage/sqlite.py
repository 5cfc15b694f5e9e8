"""Storage on one machine: a SQLite file, written durably, shared by processes."""

import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from random import getrandbits
from typing import Any, ClassVar

import orjson

from lightning.errors import Conflict, PreconditionFailed, Transient
from lightning.storage.glances import Glances
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
from lightning.storage.readers import READ_SECONDS, Readers, TooManyReads
from lightning.storage.rules import (
    asks_for_nothing,
    check_batch,
    check_limit,
    check_query,
    document_id,
    is_document_id,
)
from lightning.storage.sqlite_file import SqliteFile
from lightning.storage.sqlite_query import read_page, read_partitions, select
from lightning.storage.sqlite_schema import prepare
from lightning.storage.writer import Writer, unavailable

#: The cache of the connections for single documents and for writing.
CACHE_KIB = 32 * 1024

#: The cache of each of the connections for queries, of which there are several.
QUERY_CACHE_KIB = 4 * 1024


class SqliteStorage:
    """The storage port on a SQLite file (WAL, ``synchronous=FULL``).

    Parameters:
      path: The database file; made with its folder when missing, readable by its owner only.
      query_seconds: A query that takes longer fails.
    """

    charges: ClassVar[bool] = False

    def __init__(self, path: Path, *, query_seconds: float = READ_SECONDS) -> None:
        self._file = SqliteFile(path)
        prepare(self._file)
        self._reader = self._file.connect(CACHE_KIB)  # for single documents, which are found at once
        self._glances = Glances(self._file.connect(QUERY_CACHE_KIB))
        self._readers = Readers(lambda: self._file.connect(QUERY_CACHE_KIB), read_seconds=query_seconds)
        self._writer = Writer(self._file, CACHE_KIB)

    async def get(self, container: str, partition: str, id: str) -> Stored | None:
        """Read one document; see `Storage.get`."""
        if not is_document_id(id):
            return None
        try:
            return _get(self._reader, container, partition, id)
        except sqlite3.Error as error:
            raise unavailable(error) from error

    async def batch(self, container: str, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply all operations or none; see `Storage.batch`."""

        def write(connection: sqlite3.Connection) -> list[str]:
            if not operations:
                self._writer.check_room()
            return _apply(connection, container, partition, operations)

        return await self._writer.write(write)

    async def batch_on(self, container: str, partition: str, pivot: str, build: Build) -> list[str]:
        """Apply what ``build`` makes of the pivot, within one transaction; see `Storage.batch_on`."""

        def write(connection: sqlite3.Connection) -> list[str]:
            operations = build(_get(connection, container, partition, pivot))
            return _apply(connection, container, partition, operations, pivot=pivot)

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
        check_query(container, where, order_by, limit)
        sql, values = select(container, partition, where, order_by, descending=descending, page=page)
        if asks_for_nothing(where):
            return Page([], None)
        found = self._glance(sql, values, limit, order_by)
        return (
            found
            if found is not None
            else await self._read(
                partition, lambda connection: read_page(connection, sql, values, limit, order_by)
            )
        )

    async def partitions(self, container: str, *, after: str = "", limit: int = 100) -> list[str]:
        """List the users who have documents; see `Storage.partitions`."""
        check_limit(limit)
        return await self._read(None, lambda connection: read_partitions(connection, container, after, limit))

    def _glance(self, sql: str, values: Sequence[Any], limit: int, order_by: str) -> Page | None:
        try:
            self._file.check()
            return self._glances.page(sql, values, limit, order_by)
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error

    async def _read(self, user: str | None, read: Callable[[sqlite3.Connection], Any]) -> Any:
        try:
            self._file.check()
            return await self._readers.read(user, read)
        except TimeoutError as error:
            raise _too_long() from error
        except TooManyReads as error:
            raise _too_many() from error
        except (sqlite3.Error, OSError) as error:
            raise unavailable(error) from error

    def session(self, container: str) -> str | None:
        """Need no token: all processes read the same file; see `Storage.session`."""
        del container

    def resume(self, container: str, token: str) -> None:
        """Read the present anyway; see `Storage.resume`."""
        del container, token

    async def close(self) -> None:
        """Finish the writes under way and close the file."""
        await self._writer.close()
        await self._readers.close()
        self._glances.close()
        self._reader.close()


def _too_long() -> Transient:
    return Transient(
        "there is too much to look through for this list; ask for less at once: for one conversation, "
        "one root, or one condition instead of several",
        retry_after=READ_SECONDS,
        code="query_too_long",
    )


def _too_many() -> Transient:
    return Transient(
        "too many lists are asked for at once; wait for the answers", retry_after=1, code="too_many_queries"
    )


def _get(connection: sqlite3.Connection, container: str, partition: str, document: str) -> Stored | None:
    row = connection.execute(
        f"SELECT etag, body FROM {container} WHERE userID = ? AND id = ?",  # noqa: S608 -- a name of our table
        (partition, document),
    ).fetchone()
    return None if row is None else Stored(orjson.loads(row[1]), row[0])


def _apply(
    connection: sqlite3.Connection,
    container: str,
    partition: str,
    operations: Sequence[Operation],
    *,
    pivot: str | None = None,
) -> list[str]:
    """Check every condition, then write; so that a refusal leaves nothing behind."""
    bodies = check_batch(partition, operations, pivot=pivot)
    rows = _read_fields(connection, container, partition, operations)
    before = [_check(container, operation, rows.get(document_id(operation))) for operation in operations]
    etags = ["" if isinstance(operation, Delete) else _new_etag() for operation in operations]
    for operation, row, etag, body in zip(operations, before, etags, bodies, strict=True):
        if isinstance(operation, Delete):
            _delete(connection, container, partition, operation.id)
        else:
            _write(connection, container, operation.body, row, etag, body)
    return etags


def _read_fields(
    connection: sqlite3.Connection, container: str, partition: str, operations: Sequence[Operation]
) -> dict[str, tuple[Any, ...]]:
    """Read etag and declared fields of the documents that a batch names, by id, in one go.

    Each statement hands the interpreter's lock to another thread, so one is better than one a document.
    """
    sql = _select_fields_sql(container, len(operations))
    found = connection.execute(sql, [partition, *map(document_id, operations)])
    return {document: tuple(row) for document, *row in found}


def _check(container: str, operation: Operation, row: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    """Check an operation against the document as it stands; give its etag and declared fields."""
    document = document_id(operation)
    if isinstance(operation, Create) and row is not None:
        raise Conflict(f"{container}/{document} exists", pointer=document)
    if isinstance(operation, Replace | Delete) and (row is None or operation.etag not in (None, row[0])):
        raise PreconditionFailed(f"{container}/{document} was changed, or is gone", pointer=document)
    return row


def _new_etag() -> str:
    """Name a version. It is no secret, and asking the kernel would give the interpreter's lock away."""
    return f"{getrandbits(64):016x}"


def _delete(connection: sqlite3.Connection, container: str, partition: str, document: str) -> None:
    connection.execute(
        f"DELETE FROM {container} WHERE userID = ? AND id = ?",  # noqa: S608 -- a name of our table
        (partition, document),
    )


def _write(
    connection: sqlite3.Connection,
    container: str,
    document: Body,
    before: tuple[Any, ...] | None,
    etag: str,
    body: bytes,
) -> None:
    fields = CONTAINERS[container].fields
    key = (document["userID"], document["id"])
    values = [document.get(field) for field in fields]
    if before is None:
        connection.execute(_insert_sql(container), [*key, etag, body, *values])
        return
    # an index is written anew for every field that is set, also to what it was
    changed = [(field, new) for field, new, old in zip(fields, values, before[1:], strict=True) if new != old]
    sql = _update_sql(container, tuple(field for field, _ in changed))
    connection.execute(sql, [etag, body, *(new for _, new in changed), *key])


@lru_cache
def _select_fields_sql(container: str, documents: int) -> str:
    names = ", ".join(("id", "etag", *CONTAINERS[container].fields))
    places = ", ".join("?" * documents)
    return f"SELECT {names} FROM {container} WHERE userID = ? AND id IN ({places})"  # noqa: S608


@lru_cache
def _insert_sql(container: str) -> str:
    names = ("userID", "id", "etag", "body", *CONTAINERS[container].fields)
    return f"INSERT INTO {container} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608


@lru_cache
def _update_sql(container: str, fields: tuple[str, ...]) -> str:
    changes = ", ".join(f"{name} = ?" for name in ("etag", "body", *fields))
    return f"UPDATE {container} SET {changes} WHERE userID = ? AND id = ?"  # noqa: S608
