"""Messages that survive the process, in one SQLite file; what happens in a moment is committed together."""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from ops.emulators.servicebus.entities.message import Message, State

if TYPE_CHECKING:
    from ops.emulators.servicebus.entities.namespace import Namespace

FILE_NAME = "servicebus.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  entity TEXT NOT NULL, sequence INTEGER NOT NULL, content BLOB NOT NULL, state INTEGER NOT NULL,
  enqueued_at REAL NOT NULL, scheduled_at REAL, expires_at REAL, delivery_count INTEGER NOT NULL, source TEXT,
  PRIMARY KEY (entity, sequence)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sequences (entity TEXT PRIMARY KEY, last INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS duplicates (
  entity TEXT NOT NULL, message_id TEXT NOT NULL, until REAL NOT NULL, PRIMARY KEY (entity, message_id)
) WITHOUT ROWID;
"""
PUT = "INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
COUNT = (
    "INSERT INTO sequences VALUES (?, ?) ON CONFLICT (entity) DO UPDATE SET last = max(last, excluded.last)"
)
DELETE = "DELETE FROM messages WHERE entity = ? AND sequence = ?"
REMEMBER = "INSERT OR REPLACE INTO duplicates VALUES (?, ?, ?)"

Statement = tuple[str, tuple[object, ...]]


class StoreInUseError(OSError):
    """Another emulator uses the file."""


class SqliteStore:
    """Keeps messages in a file.

    Parameters:
      path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._loop = asyncio.get_running_loop()
        self._database = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            # Two emulators on one file would lose messages.
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.executescript(SCHEMA)
        except sqlite3.Error:
            self._database.close()
            raise
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="servicebus-store")
        self._statements: list[Statement] = []
        self._last_sequences: dict[str, int] = {}
        self._actions: list[Callable[[], None]] = []
        self._commit: asyncio.Task[None] | None = None

    def restore(self, namespace: "Namespace") -> None:
        """Put what is kept back into its entities, which come to be if they do not exist."""
        self._database.execute("DELETE FROM duplicates WHERE until <= ?", (namespace.clock.now(),))
        query = "SELECT entity, last FROM sequences ORDER BY instr(lower(entity), '/subscriptions/') = 0"
        for entity, last in self._database.execute(query).fetchall():  # a subscription makes its topic one
            namespace.revive(entity).last_sequence = last
        rows = self._database.execute("SELECT * FROM messages ORDER BY entity, sequence").fetchall()
        for entity, sequence, content, state, enqueued_at, scheduled_at, expires_at, count, source in rows:
            message = Message(content)
            message.sequence, message.state = sequence, State(state)
            message.enqueued_at, message.scheduled_at, message.expires_at = (
                enqueued_at,
                scheduled_at,
                expires_at,
            )
            message.delivery_count, message.source = count, source
            namespace.revive(entity).restore(message)
        query = "SELECT entity, message_id, until FROM duplicates ORDER BY until"
        for entity, message_id, until in self._database.execute(query).fetchall():
            namespace.revive(entity).duplicates.restore(message_id, until)

    def open(self, entity: str) -> None:
        """Keep that an entity exists."""
        self._last_sequences.setdefault(entity, 0)
        self._begin()

    def put(self, entity: str, message: Message) -> None:
        """Keep a message as it is now."""
        self._last_sequences[entity] = max(message.sequence, self._last_sequences.get(entity, 0))
        row = (
            *(entity, message.sequence, message.content(), int(message.state), message.enqueued_at),
            *(message.scheduled_at, message.expires_at, message.delivery_count, message.source),
        )
        self._add((PUT, row))

    def delete(self, entity: str, sequence: int) -> None:
        """Forget a message."""
        self._add((DELETE, (entity, sequence)))

    def remember(self, entity: str, message_id: str, until: float) -> None:
        """Keep a message-id until a time in seconds since the epoch."""
        self._add((REMEMBER, (entity, message_id, until)))

    def after_commit(self, action: Callable[[], None]) -> None:
        """Do something once everything so far is in the file."""
        self._actions.append(action)
        self._begin()

    async def close(self) -> None:
        """Commit what is left and close the file."""
        while self._commit is not None:
            await self._commit
        self._thread.shutdown()
        self._database.close()

    def _add(self, statement: Statement) -> None:
        self._statements.append(statement)
        self._begin()

    def _begin(self) -> None:
        if self._commit is None:
            self._commit = self._loop.create_task(self._commit_all())

    async def _commit_all(self) -> None:
        """Commit in rounds: while one is written, the next gathers."""
        while self._statements or self._actions or self._last_sequences:
            statements, self._statements = self._statements, []
            statements += [(COUNT, item) for item in self._last_sequences.items()]
            self._last_sequences = {}
            actions, self._actions = self._actions, []
            if statements:
                await self._loop.run_in_executor(self._thread, self._write, statements)
            for action in actions:
                action()
        self._commit = None

    def _write(self, statements: list[Statement]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            self._database.execute(sql, values)
        self._database.execute("COMMIT")


def open_store(folder: Path) -> SqliteStore:
    """Open the store in a folder, which is made if it is missing.

    Raises:
      OSError: The folder cannot be made.
      sqlite3.DatabaseError: The file is no database.
      StoreInUseError: Another emulator uses it.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / FILE_NAME).touch(mode=0o600)
    try:
        return SqliteStore(folder / FILE_NAME)
    except sqlite3.OperationalError as error:
        raise StoreInUseError(
            f"{folder / FILE_NAME} cannot be used ({error}); stop another emulator that uses it, or name "
            "another --data"
        ) from error
