"""The embedded span store: one SQLite file that every process of a machine writes to.

Telemetry is best effort, the event log is the audit. So the file is written
without waiting for the disk, is bounded, and may be deleted at any time.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

import orjson

from lightning.telemetry import names
from lightning.telemetry.span_file import SpanFile

#: Spans that ended longer ago are removed, where there are not too many before.
DEFAULT_MAX_DAYS: Final = 30

#: Kept when nothing else is said: 150 to 250 MB.
DEFAULT_MAX_SPANS: Final = 200_000

_DAY_NS: Final = 24 * 3600 * 10**9

#: The store prunes itself each time it has taken so many spans.
PRUNE_EVERY_SPANS: Final = 5_000

# Positions are handed out without gaps and pruned from below, so the bound is a subtraction.
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS spans (
  position INTEGER PRIMARY KEY, trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT,
  name TEXT NOT NULL, kind TEXT NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
  status TEXT NOT NULL, status_message TEXT NOT NULL, attributes TEXT NOT NULL, events TEXT NOT NULL,
  links TEXT NOT NULL, process TEXT NOT NULL, event_id TEXT
);
CREATE UNIQUE INDEX IF NOT EXISTS spans_by_trace ON spans (trace_id, span_id);
CREATE INDEX IF NOT EXISTS spans_by_event ON spans (event_id, trace_id) WHERE event_id IS NOT NULL;
"""
_INSERT: Final = (
    "INSERT OR IGNORE INTO spans (trace_id, span_id, parent_id, name, kind, start_ns, end_ns, status,"
    " status_message, attributes, events, links, process, event_id) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_TRACE: Final = (
    "SELECT trace_id, span_id, parent_id, name, kind, start_ns, end_ns, status, status_message,"
    " attributes, events, links, process FROM spans WHERE trace_id = ? ORDER BY start_ns, position"
)
_TRACES_OF_EVENT: Final = (
    "SELECT trace_id FROM spans WHERE event_id = ? GROUP BY trace_id ORDER BY min(start_ns), trace_id"
)
_PRUNE: Final = "DELETE FROM spans WHERE position <= (SELECT max(position) FROM spans) - ?"
# Those of one batch may end in any order, which is no matter for days.
_EXPIRE: Final = (
    "DELETE FROM spans WHERE position < coalesce("
    "(SELECT position FROM spans WHERE end_ns >= ? ORDER BY position LIMIT 1),"
    " (SELECT max(position) + 1 FROM spans))"
)

#: A span as the file holds it: the columns of `spans` but the position, in order.
Row: TypeAlias = tuple[str, str, str | None, str, str, int, int, str, str, str, str, str, str, str | None]


@dataclass(frozen=True, slots=True)
class Span:
    """One finished piece of work, as it is stored and drawn.

    Parameters:
      trace_id: 32 hexadecimal digits.
      span_id: 16 hexadecimal digits.
      parent_id: The span that caused this one, if there is one.
      name: What was done, such as ``process default``.
      kind: ``internal``, ``server``, ``client``, ``producer`` or ``consumer``.
      start_ns: Nanoseconds since the epoch.
      end_ns: Nanoseconds since the epoch.
      status: ``unset``, ``ok`` or ``error``.
      status_message: What went wrong.
      attributes: Under the names of ``lightning.telemetry.names``.
      events: Each with ``name``, ``time_ns`` and ``attributes``.
      links: Each with ``trace_id``, ``span_id`` and ``attributes``.
      process: Service and process id, such as ``worker:4711``.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str = "unset"
    status_message: str = ""
    attributes: dict[str, object] = field(default_factory=dict[str, object])
    events: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    links: list[dict[str, object]] = field(default_factory=list[dict[str, object]])
    process: str = ""

    @property
    def event_id(self) -> str | None:
        """The event that the span names as its own."""
        event_id = self.attributes.get(names.EVENT)
        return None if event_id is None else str(event_id)


class SpanStore:
    """Keeps the latest spans of one machine in a SQLite file of their own.

    Any number of processes may write to one file, each through a store of its
    own; within a process the store may be used from any thread. A file that was
    deleted comes back empty, a damaged one is set aside as ``*.damaged``.

    Parameters:
      path: The file; it and its folder are made when first written to.
      max_spans: How many spans to keep, give or take what is written between two prunings.
      max_days: Days after which they are removed, when the store prunes itself.
    """

    def __init__(
        self, path: Path, *, max_spans: int = DEFAULT_MAX_SPANS, max_days: int = DEFAULT_MAX_DAYS
    ) -> None:
        self.path = path
        self.max_spans = max_spans
        self.max_days = max_days
        self._lock = threading.Lock()
        self._file = SpanFile(path, _SCHEMA)
        self._since_pruned = PRUNE_EVERY_SPANS  # so that processes that live briefly prune too

    def add(self, spans: Iterable[Span]) -> None:
        """Store spans in one transaction; one that is stored already is left as it is.

        Parameters:
          spans: Finished spans, of this process or received from elsewhere.

        Raises:
          sqlite3.Error: They could not be stored, and none of them is.
          OSError: The file could not be made.
        """
        self.add_rows([row_of(span) for span in spans])

    def add_rows(self, rows: list[Row]) -> None:
        """Store spans that are rows already; see :meth:`add`.

        Parameters:
          rows: Without anything that SQLite refuses, as lone surrogates.
        """
        with self._lock:
            try:
                self._write(_INSERT, rows)
                self._since_pruned += len(rows)
                if self._since_pruned >= PRUNE_EVERY_SPANS:
                    self._write(_PRUNE, [(self.max_spans,)])
                    self._write(_EXPIRE, [(time.time_ns() - self.max_days * _DAY_NS,)])
                    self._since_pruned = 0
            except sqlite3.Error as error:
                self._file.give_up(error)
                raise

    def prune(self, max_spans: int | None = None) -> int:
        """Delete the spans that were stored first.

        Parameters:
          max_spans: How many to keep; the store's own bound when left out.

        Returns:
          How many were deleted.

        Raises:
          sqlite3.Error: The file cannot be written.
        """
        if not self.path.exists():
            return 0
        with self._lock:
            return self._write(_PRUNE, [(self.max_spans if max_spans is None else max_spans,)])

    def trace(self, trace_id: str) -> list[Span]:
        """Return the stored spans of one trace.

        Parameters:
          trace_id: 32 hexadecimal digits.

        Returns:
          The spans in the order in which they began; empty for an unknown trace.

        Raises:
          sqlite3.Error: The file cannot be read.
        """
        return [_span(row) for row in self._read(_TRACE, trace_id)]

    def traces_of_event(self, event_id: str) -> list[str]:
        """Return the traces in which an event was worked on.

        Parameters:
          event_id: The value of ``lightning.event`` to look for.

        Returns:
          Trace ids, the earliest first; more than one if the event was replayed.

        Raises:
          sqlite3.Error: The file cannot be read.
        """
        return [str(row[0]) for row in self._read(_TRACES_OF_EVENT, event_id)]

    def close(self) -> None:
        """Close the file; a later call opens it again."""
        with self._lock:
            self._file.close()

    def _write(self, statement: str, rows: list[tuple[int]] | list[Row]) -> int:
        """Run one statement over rows in a transaction of its own."""
        connection = self._file.connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            count = connection.executemany(statement, rows).rowcount
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return count

    def _read(self, statement: str, key: str) -> list[tuple[object, ...]]:
        if not self.path.exists():
            return []
        with closing(self._file.open()) as connection:
            return connection.execute(statement, (key,)).fetchall()


def row_of(span: Span) -> Row:
    """Make a row of a span, whatever its texts hold."""
    return (
        span.trace_id,
        span.span_id,
        span.parent_id,
        _text(span.name),
        span.kind,
        span.start_ns,
        span.end_ns,
        span.status,
        _text(span.status_message),
        _encode(span.attributes),
        _encode(span.events),
        _encode(span.links),
        _text(span.process),
        None if span.event_id is None else _text(span.event_id),
    )


def _span(row: tuple[object, ...]) -> Span:
    *plain, attributes, events, links, process = row
    return Span(
        *plain,  # pyright: ignore[reportArgumentType] -- the columns of _TRACE, in order
        attributes=json.loads(str(attributes)),
        events=json.loads(str(events)),
        links=json.loads(str(links)),
        process=str(process),
    )


def _text(text: str) -> str:
    """Replace lone surrogates, which SQLite refuses."""
    return text.encode(errors="replace").decode()


def _encode(value: object) -> str:
    if not value:
        return "{}" if isinstance(value, dict) else "[]"
    try:
        return orjson.dumps(value, default=repr).decode()
    except TypeError:  # lone surrogates, integers beyond 64 bits
        return json.dumps(value, default=repr)
