"""Queries of the SQLite store: their SQL, and their pages."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import orjson

from lightning.storage.paging import page_position, page_token
from lightning.storage.port import CONTAINERS, Page, Stored, Where
from lightning.storage.rules import MAX_PAGE_BYTES
from lightning.storage.sqlite_schema import index_name


def select(
    container: str,
    partition: str | None,
    where: Sequence[Where],
    order_by: str,
    *,
    descending: bool,
    page: str | None,
) -> tuple[str, list[Any]]:
    """Write a query as SQL without its limit, and its values.

    Raises:
      ValueError: The page token is not one of ours.
    """
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
        clauses.append(f"({order_by}, id, userID) {'<' if descending else '>'} (?, ?, ?)")
        values.extend(page_position(page))
    direction = "DESC" if descending else "ASC"
    table = f"{container}{_indexed_by(container, partition, where, order_by)}"
    return (
        f"SELECT etag, body FROM {table} WHERE {' AND '.join(clauses)}"  # noqa: S608
        f" ORDER BY {order_by} {direction}, id {direction}, userID {direction}"
    ), values


def _indexed_by(container: str, partition: str | None, where: Sequence[Where], order_by: str) -> str:
    """Name the index that gives a query in its order: SQLite knows nothing of what finds the fewest."""
    given = {condition.field for condition in where if condition.compare == "="}
    given |= set() if partition is None else {"userID"}
    serving = [
        fields
        for fields in CONTAINERS[container].indexes
        if fields[-1] == order_by and given.issuperset(fields[:-1])
    ]
    # max gives the first of the largest
    best = max(reversed(serving), key=len, default=None)
    return "" if best is None else f" INDEXED BY {index_name(container, best)}"


class TooMuch(Exception):
    """There are more bytes than were asked for."""


def read_page(
    connection: sqlite3.Connection,
    sql: str,
    values: Sequence[Any],
    limit: int,
    order_by: str,
    *,
    most_bytes: int | None = None,
) -> Page:
    """Read a page, and no more of what comes after it than is needed to tell that there is something.

    Raises:
      TooMuch: Its documents have more than ``most_bytes``.
      sqlite3.Error: The file cannot be read.
    """
    items: list[Stored] = []
    size = 0
    with closing(connection.execute(f"{sql} LIMIT ?", [*values, limit + 1])) as rows:
        for etag, body in rows:
            if len(items) == limit or size >= MAX_PAGE_BYTES:
                return Page(items, page_token(items[-1].body, order_by))
            size += len(body)
            if most_bytes is not None and size > most_bytes:
                raise TooMuch
            items.append(Stored(orjson.loads(body), etag))
    return Page(items, None)


def read_partitions(connection: sqlite3.Connection, container: str, after: str, limit: int) -> list[str]:
    """Read who has documents, by one look into the index for each, however many documents they have."""
    found: list[str] = []
    sql = f"SELECT MIN(userID) FROM {container} WHERE userID > ?"  # noqa: S608 -- a name of our table
    while len(found) < limit:
        (user,) = connection.execute(sql, (found[-1] if found else after,)).fetchone()
        if user is None:
            break
        found.append(user)
    return found
