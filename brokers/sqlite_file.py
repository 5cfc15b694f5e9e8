"""A connection to an SQLite file that somebody may remove at any time.

SQLite itself goes on in a file that has no name any more, out of everybody's sight. Here the files are told
apart by their inodes. All methods must be called by one thread and process at a time: a new file, log or
index is only begun by whoever holds the lock.
"""

import contextlib
import logging
import os
import sqlite3
from pathlib import Path

from dramatiq.errors import ConnectionFailed

#: How often opening is tried while somebody removes the files.
MAX_ATTEMPTS = 20

#: The log grows to about this many pages (4 KiB each) before its content moves into the file.
CHECKPOINT_PAGES = 4000

_SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})

_logger = logging.getLogger(__name__)

#: Device and inode of a file, or None when it is missing.
_Identity = tuple[int, int] | None

#: Those of the database, its log and its shared memory.
_Identities = tuple[_Identity, _Identity, _Identity]


class SqliteFile:
    """An SQLite file in WAL mode.

    Parameters:
      path: The database file. Its directory is created when it is missing.
      schema: Statements that create what is missing; run each time that the file is opened.
      version: Of the schema; a file of a newer one is refused.
      synchronous: SQLite's setting: ``NORMAL`` survives the death of any process, ``FULL`` also that of the
        machine.
      busy_timeout_seconds: How long to wait for a foreign program's lock on the file.

    Raises:
      ValueError: When ``synchronous`` is not a setting of SQLite.
    """

    def __init__(
        self, path: Path, schema: str, *, version: int, synchronous: str, busy_timeout_seconds: float
    ) -> None:
        if synchronous.upper() not in _SYNCHRONOUS:
            raise ValueError(f"synchronous must be one of {sorted(_SYNCHRONOUS)}, not {synchronous!r}")
        self.path = path
        #: Counts how often the file was replaced under us: what an earlier generation held is gone.
        self.generation = 0
        self._names = (str(path), f"{path}-wal", f"{path}-shm")
        self._schema = schema
        self._version = version
        self._synchronous = synchronous.upper()
        self._busy_timeout_seconds = busy_timeout_seconds
        self._connection: sqlite3.Connection | None = None
        self._files: _Identities = (None, None, None)

    def open(self) -> sqlite3.Connection:
        """The connection, opened anew when it is not of use any more.

        Raises:
          ConnectionFailed: When the file does not stay in its place for long enough.
        """
        if self._connection is not None:
            # Writing to a log that others no longer read would damage the file. That the database itself is
            # still in its place is checked after the commit, where it matters.
            if self._files[1:] == (_identify(self._names[1]), _identify(self._names[2])):
                return self._connection
            _logger.warning("The log of the queue file %s was removed; beginning a new one.", self.path)
            self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            opened = self._try_to_open(last=attempt == MAX_ATTEMPTS)
            if opened is not None:
                return opened
        raise ConnectionFailed("somebody removes it again and again while it is being opened")

    def _try_to_open(self, *, last: bool) -> sqlite3.Connection | None:
        before = self._identify()
        if None in before and any(before[before.index(None) :]):
            self._unlink_behind(before)
            return None
        # SQLite would let everybody read it; log and index follow the database
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            opened = _identify(self._names[0])
            self._prepare(connection)
            files = self._identify()
            if files[0] == opened and None not in files and _is_kept(before, files):
                self._connection, self._files = connection, files
                return connection
        except sqlite3.Error as error:
            if last or error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                connection.close()
                raise
            if error.sqlite_errorcode == sqlite3.SQLITE_IOERR_SHORT_READ:
                Path(self._names[2]).unlink(missing_ok=True)  # the index of another log; it is made anew
        # Somebody removes files while we open them, and what we have may not belong together.
        connection.close()
        files = self._identify()
        if not _is_kept(before, files):
            self._unlink_behind((files[0], None, None))
        return None

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute("PRAGMA cache_size = -16384")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > self._version:
            raise ConnectionFailed(
                f"{self.path} was written by a newer Lightning (version {version}); start that one again, or"
                " remove the file: what it announced, the log announces again"
            )
        connection.executescript(self._schema)
        if version < self._version:
            connection.execute(f"PRAGMA user_version = {self._version}")

    def _unlink_behind(self, files: _Identities) -> None:
        """Remove what comes behind a missing file: a log belongs to one database, an index to one log."""
        for position, name in enumerate(self._names):
            if None in files[: position + 1]:
                Path(name).unlink(missing_ok=True)

    def _identify(self) -> _Identities:
        database, log, shared_memory = self._names
        return _identify(database), _identify(log), _identify(shared_memory)

    def is_replaced(self) -> bool:
        """Whether the database that was opened has lost its name, and what was written to it is lost."""
        return self._files[0] != _identify(self._names[0])

    def is_intact(self) -> bool:
        """Whether database, log and index are those that were opened."""
        return self._files == self._identify()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is None:
            return
        # Asked while the old file is open: once it is closed, a new one may get the same inode.
        with contextlib.suppress(OSError):
            self.generation += self.is_replaced()
            if all(now in {None, then} for now, then in zip(self._identify(), self._files, strict=True)):
                # When only the log was removed, its content is saved by this connection or not at all. If
                # somebody has begun a new log, though, the old one must not be written over its base.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._connection.close()
        self._connection = None


def _is_kept(before: _Identities, files: _Identities) -> bool:
    return all(then in {None, now} for then, now in zip(before, files, strict=True))


def _identify(path: str) -> _Identity:
    try:
        found = os.stat(path)  # noqa: PTH116 - runs in every transaction, and Path.stat costs twice as much
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
