"""Keeps envelopes, as they came and as the rows of the tables, in one SQLite file."""

import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from ops.emulators.monitor.envelope import JsonObject, tags_of
from ops.emulators.monitor.tables import SHARED, TABLES, rows

#: The oldest go when there are more.
MAX_ENVELOPES: Final = 200_000

#: They are looked for each time so many have come.
PRUNE_EVERY: Final = 10_000

_ENVELOPES: Final = """
CREATE TABLE IF NOT EXISTS envelopes (
  position INTEGER PRIMARY KEY, base_type TEXT NOT NULL, operation_id TEXT NOT NULL, envelope TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS envelopes_operation ON envelopes (operation_id);
"""


class EnvelopeStore:
    """What was taken. Safe for threads.

    Parameters:
      path: The file; None: it is gone with the emulator.
      max_envelopes: How many are kept, give or take what comes between two looks.

    Raises:
      sqlite3.OperationalError: The file cannot be used.
    """

    def __init__(self, path: Path | None, *, max_envelopes: int = MAX_ENVELOPES) -> None:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(OSError):  # what is wrong with it SQLite says
                path.touch(mode=0o600)
        self._lock = threading.Lock()
        self._max_envelopes = max_envelopes
        self._since_pruned = 0
        self._file = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False)
        self._file.executescript(_schema())

    def add(self, envelopes: Sequence[JsonObject]) -> None:
        """Keep envelopes in one transaction."""
        with self._lock:
            self._file.execute("BEGIN IMMEDIATE")
            for envelope in envelopes:
                self._add(envelope)
            self._since_pruned += len(envelopes)
            if self._since_pruned >= PRUNE_EVERY:
                self._prune()
            self._file.execute("COMMIT")

    def _add(self, envelope: JsonObject) -> None:
        position = self._file.execute(
            "INSERT INTO envelopes (base_type, operation_id, envelope) VALUES (?,?,?)",
            (
                envelope["data"]["baseType"],
                tags_of(envelope).get("ai.operation.id") or "",
                orjson.dumps(envelope).decode(),
            ),
        ).lastrowid
        for table, row in rows(envelope):
            marks = ",".join("?" * (len(row) + 1))
            self._file.execute(
                f"INSERT INTO {table} (position,{','.join(row)}) VALUES ({marks})",  # noqa: S608 -- our own names
                (position, *row.values()),
            )

    def _prune(self) -> None:
        self._since_pruned = 0
        [(last,)] = self._file.execute("SELECT coalesce(max(position), 0) FROM envelopes")
        for table in ("envelopes", *TABLES):
            self._file.execute(
                f"DELETE FROM {table} WHERE position <= ?",  # noqa: S608 -- our own names
                (last - self._max_envelopes,),
            )

    def envelopes(self, *, base_type: str = "", operation_id: str = "") -> list[JsonObject]:
        """Give what was taken, in the order in which it came.

        Parameters:
          base_type: Only of this kind, such as ``RequestData``; empty: of all.
          operation_id: Only of this trace; empty: of all.
        """
        found = self.query(
            "SELECT envelope FROM envelopes WHERE ? IN ('', base_type) AND ? IN ('', operation_id)"
            " ORDER BY position",
            (base_type, operation_id),
        )[1]
        return [orjson.loads(envelope) for (envelope,) in found]

    def query(
        self, statement: str, parameters: Sequence[object] = ()
    ) -> tuple[list[str], list[tuple[Any, ...]]]:
        """Run a statement that reads.

        Returns:
          The names of the columns, and the rows.

        Raises:
          sqlite3.Error: It cannot be run.
        """
        with self._lock:
            cursor = self._file.execute(statement, parameters)
            return [column[0] for column in cursor.description], cursor.fetchall()

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            for table in ("envelopes", *TABLES):
                self._file.execute(f"DELETE FROM {table}")  # noqa: S608 -- our own names

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _schema() -> str:
    tables = [
        f"CREATE TABLE IF NOT EXISTS {name} (position INTEGER, {', '.join((*SHARED, *own))});"
        f"CREATE INDEX IF NOT EXISTS {name}_position ON {name} (position);"
        for name, own in TABLES.items()
    ]
    return "".join(
        [
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
            _ENVELOPES,
            *tables,
        ]
    )
