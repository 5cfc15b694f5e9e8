"""The queue as statements: what each operation of the SQLite broker does inside its transaction.

A message is one row. ``visible_at`` is its due time until it is claimed, and the end of the lease afterwards.
``token`` names the claim that holds it; zero means that nobody does. Every statement that acts for a holder
compares the token, so a holder whose lease was lost changes nothing. Times are UNIX milliseconds.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import NamedTuple

#: How long suspected messages are hidden while one of them is tried.
SUSPECT_DELAY_MS = 1000

#: A dead letter's error is cut to its last characters, where a traceback names its cause.
MAX_ERROR_CHARS = 8000

#: Raised when a program that knows only the schema before could not work with the file.
VERSION = 1

SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY,
    queue_name TEXT NOT NULL,
    visible_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    token INTEGER NOT NULL DEFAULT 0,
    deliveries INTEGER NOT NULL DEFAULT 0,
    body BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_by_visibility ON messages (queue_name, visible_at);
CREATE TABLE IF NOT EXISTS dead_letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    queue_name TEXT NOT NULL,
    body BLOB NOT NULL,
    reason TEXT NOT NULL,
    error TEXT NOT NULL,
    deliveries INTEGER NOT NULL,
    died_at INTEGER NOT NULL
);
"""

_INSERT = "INSERT INTO messages (queue_name, visible_at, due_at, body) VALUES (?, ?, ?, ?)"
_MOVE = """UPDATE messages SET queue_name = ?, visible_at = ?, due_at = ?, body = ?, token = 0, deliveries = 0
    WHERE id = ? AND token = ?"""
_DUE = """SELECT id, deliveries, body FROM messages WHERE queue_name = ? AND visible_at <= ?
    ORDER BY visible_at, id LIMIT ?"""
_LEASE = "UPDATE messages SET visible_at = ?, token = ?, deliveries = deliveries + 1 WHERE id = ?"
_HIDE = "UPDATE messages SET visible_at = ? WHERE id = ?"
_RENEW = "UPDATE messages SET visible_at = ? WHERE id = ? AND token = ?"
_REMOVE = "DELETE FROM messages WHERE id = ?"
_COMPLETE = "DELETE FROM messages WHERE id = ? AND token = ?"
_RELEASE = "UPDATE messages SET visible_at = due_at, token = 0 WHERE id = ? AND token = ?"
_RETURN = """UPDATE messages SET visible_at = due_at, token = 0, deliveries = deliveries - 1
    WHERE id = ? AND token = ?"""
_BURY = """INSERT INTO dead_letters (queue_name, body, reason, error, deliveries, died_at)
    VALUES (?, ?, ?, ?, ?, ?)"""
_OLDEST = """SELECT min(due_at) FROM (SELECT due_at FROM messages WHERE queue_name = ? AND visible_at <= ?
    ORDER BY visible_at LIMIT 1000)"""


class Lease(NamedTuple):
    """A row, and the claim that holds it."""

    row_id: int
    token: int


class Entry(NamedTuple):
    """A message to put on a queue; in the place of the one that is held, when it is that one's retry."""

    queue_name: str
    body: bytes
    due_at: int
    held: Lease | None = None
    generation: int = 0


class Grave(NamedTuple):
    """What a dead letter keeps."""

    queue_name: str
    body: bytes
    reason: str
    error: str
    deliveries: int


class Ending(Enum):
    """What becomes of a message that was held."""

    COMPLETE = _COMPLETE
    #: Visible again; the delivery counts.
    RELEASE = _RELEASE
    #: Visible again; it was never handed to an actor.
    RETURN = _RETURN


class Settlement(NamedTuple):
    """The end of a claim, and the dead letter that is left of it."""

    lease: Lease
    ending: Ending
    message_id: str = ""
    grave: Grave | None = None
    #: The row has gone, but not to another holder: its dead letter is written all the same.
    detached: bool = False


class Claimed(NamedTuple):
    """A row that the caller holds now."""

    lease: Lease
    deliveries: int
    body: bytes


class Claim(NamedTuple):
    """What a claim found."""

    messages: list[Claimed]
    #: Whether nothing that is due was left behind.
    exhausted: bool
    #: When the next message is due or the next lease ends; None when the queue is empty.
    next_at: int | None
    #: Settlements that came after their lease was lost.
    lost: list[Settlement]


class Terms(NamedTuple):
    """The conditions on which messages are claimed."""

    queue_name: str
    room: int
    token: int
    lease_ms: int
    max_deliveries: int
    #: Asked whether a message that is suspected of killing its process may be among them.
    may_take_suspect: Callable[[], bool]


def now_ms() -> int:
    """The time in UNIX milliseconds."""
    return time.time_ns() // 1_000_000


def is_suspect(failed_deliveries: int, max_deliveries: int) -> bool:
    """Whether so many deliveries came to nothing that this message may be what kills its processes.

    Messages that are held together with it die together with it, and are suspected as well after a while.
    Claiming suspects one at a time tells them apart: the harmless ones are then completed.
    """
    return failed_deliveries > 0 and failed_deliveries * 2 >= max_deliveries


def put(connection: sqlite3.Connection, entries: Iterable[Entry], generation: int) -> list[Entry]:
    """Put messages on their queues.

    Returns:
      The retries that were dropped, since somebody else holds their message now.
    """
    fresh: list[Entry] = []
    dropped: list[Entry] = []
    for entry in entries:
        if entry.held is None or entry.generation != generation:
            fresh.append(entry)
            continue
        row = (entry.queue_name, entry.due_at, entry.due_at, entry.body, *entry.held)
        if connection.execute(_MOVE, row).rowcount != 1:
            dropped.append(entry)
    connection.executemany(_INSERT, [(e.queue_name, e.due_at, e.due_at, e.body) for e in fresh])
    return dropped


def claim(connection: sqlite3.Connection, settlements: Iterable[Settlement], terms: Terms) -> Claim:
    """Settle what is done, and claim what is due."""
    lost = settle(connection, settlements)
    now = now_ms()
    due = connection.execute(_DUE, (terms.queue_name, now, terms.room)).fetchall() if terms.room > 0 else []
    claimed: list[Claimed] = []
    hidden: list[int] = []
    suspects = 0
    for row_id, deliveries, body in due:
        if deliveries >= terms.max_deliveries:
            connection.execute(_REMOVE, (row_id,))
            error = f"delivered {deliveries} times, but no worker lived to settle it"
            bury(connection, Grave(terms.queue_name, body, "delivery_count_exceeded", error, deliveries))
        elif not is_suspect(deliveries, terms.max_deliveries):
            claimed.append(Claimed(Lease(row_id, terms.token), deliveries + 1, body))
        elif not suspects and terms.may_take_suspect():
            suspects += 1
            claimed.append(Claimed(Lease(row_id, terms.token), deliveries + 1, body))
        else:
            hidden.append(row_id)
    if claimed:
        leased = now + terms.lease_ms
        connection.executemany(_LEASE, [(leased, terms.token, c.lease.row_id) for c in claimed])
    if hidden:
        connection.executemany(_HIDE, [(now + SUSPECT_DELAY_MS, row_id) for row_id in hidden])
    exhausted = terms.room > 0 and len(due) < terms.room
    return Claim(claimed, exhausted, None if claimed else next_at(connection, terms.queue_name), lost)


def settle(connection: sqlite3.Connection, settlements: Iterable[Settlement]) -> list[Settlement]:
    """End claims.

    Returns:
      Those whose lease was lost; nothing was done for them.
    """
    lost: list[Settlement] = []
    for settlement in settlements:
        ended = connection.execute(settlement.ending.value, settlement.lease).rowcount == 1
        if settlement.grave is not None and (ended or settlement.detached):
            bury(connection, settlement.grave)
        elif not ended:
            lost.append(settlement)
    return lost


def renew(connection: sqlite3.Connection, leases: Sequence[Lease], until: int) -> list[Lease]:
    """Prolong leases.

    Returns:
      Those that were lost.
    """
    return [lease for lease in leases if connection.execute(_RENEW, (until, *lease)).rowcount != 1]


def bury(connection: sqlite3.Connection, grave: Grave) -> None:
    """Write a dead letter."""
    row = (
        grave.queue_name,
        grave.body,
        grave.reason,
        grave.error[-MAX_ERROR_CHARS:],
        grave.deliveries,
        now_ms(),
    )
    connection.execute(_BURY, row)


def next_at(connection: sqlite3.Connection, queue_name: str) -> int | None:
    """When the next message of a queue becomes visible, or None when there is no message."""
    statement = "SELECT min(visible_at) FROM messages WHERE queue_name = ?"
    return connection.execute(statement, (queue_name,)).fetchone()[0]


def count(connection: sqlite3.Connection, queue_name: str) -> int:
    """How many messages a queue has: waiting, delayed and held."""
    statement = "SELECT count(*) FROM messages WHERE queue_name = ?"
    return connection.execute(statement, (queue_name,)).fetchone()[0]


def oldest_due_at(connection: sqlite3.Connection, queue_name: str) -> int | None:
    """Since when the message that waits longest has been due; one that is held does not wait."""
    return connection.execute(_OLDEST, (queue_name, now_ms())).fetchone()[0]


def flush(connection: sqlite3.Connection, queue_name: str) -> None:
    """Drop the messages of a queue."""
    connection.execute("DELETE FROM messages WHERE queue_name = ?", (queue_name,))


def clear_dead_letters(connection: sqlite3.Connection, queue_name: str) -> None:
    """Drop the dead letters of a queue."""
    connection.execute("DELETE FROM dead_letters WHERE queue_name = ?", (queue_name,))


def list_dead_letters(
    connection: sqlite3.Connection, queue_name: str | None, limit: int
) -> list[tuple[int, str, bytes, str, str, int, int]]:
    """The dead letters of one queue or of all, oldest first."""
    statement = """SELECT id, queue_name, body, reason, error, deliveries, died_at FROM dead_letters
        WHERE ?1 IS NULL OR queue_name = ?1 ORDER BY id LIMIT ?2"""
    return connection.execute(statement, (queue_name, limit)).fetchall()


def take_dead_letter(connection: sqlite3.Connection, dead_letter_id: int) -> tuple[str, bytes] | None:
    """Remove a dead letter and return its queue and body, or None when there is none."""
    statement = "DELETE FROM dead_letters WHERE id = ? RETURNING queue_name, body"
    rows = connection.execute(statement, (dead_letter_id,)).fetchall()
    return rows[0] if rows else None
