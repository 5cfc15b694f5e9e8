"""The SQLite file of the span store: made, shared between processes, and made again."""

import fcntl
import os
import sqlite3
from pathlib import Path
from typing import Final

#: How long a writer waits for the writers of other processes.
BUSY_TIMEOUT_SECONDS: Final = 2.0


class SpanFile:
    """Opens one SQLite file without waiting for the disk, and heals it.

    A file that was deleted comes back empty, a damaged one is set aside as
    ``*.damaged``. Not safe for threads: whoever owns it takes care of that.

    Parameters:
      path: The file; it and its folder are made when it is first opened.
      schema: Statements that make what is missing and leave what is there.
    """

    def __init__(self, path: Path, schema: str) -> None:
        self.path = path
        self._schema = schema
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int, int] | None = None

    def connection(self) -> sqlite3.Connection:
        """Return the writer's connection, renewed after the file was deleted or the process forked.

        Raises:
          sqlite3.Error: The file cannot be used.
          OSError: The file cannot be made.
        """
        if self._connection is None or self._identity != self._identify():
            self.close()
            self._connection = self.open()
            self._identity = self._identify()
        return self._connection

    def open(self) -> sqlite3.Connection:
        """Return a connection of the caller's own, to be closed by the caller.

        Raises:
          sqlite3.Error: The file cannot be used.
          OSError: The file cannot be made.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # One process at a time makes the file: side files that outlived a deleted one would damage
        # the next, and removing them is safe only while nobody else has opened it.
        with self._beside(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                return self._connect()
            except sqlite3.DatabaseError as error:
                if not _is_damaged(error):
                    raise
                self._set_aside()
                return self._connect()

    def give_up(self, error: sqlite3.Error) -> None:
        """Close a file that failed, and set it aside if it is damaged; the next use starts anew.

        Parameters:
          error: How it failed.
        """
        # Somebody else may have replaced it meanwhile: only what this process had open is damaged.
        if _is_damaged(error) and self._identity is not None and self._identity == self._identify():
            self._set_aside()
        self.close()

    def close(self) -> None:
        """Close the writer's connection."""
        # One that was inherited through fork is the parent's to close.
        if self._connection is not None and self._identity is not None and self._identity[2] == os.getpid():
            self._connection.close()
        self._connection = None
        self._identity = None

    def _connect(self) -> sqlite3.Connection:
        """Connect to the file, and make it if there is none; the lock is held."""
        if not self.path.exists():
            self._remove_side_files()
            self.path.touch(mode=0o600)
        connection = sqlite3.connect(
            self.path, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=OFF")
            connection.executescript(self._schema)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def _identify(self) -> tuple[int, int, int] | None:
        """Name the file that the path leads to, as this process sees it."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return None
        return status.st_dev, status.st_ino, os.getpid()

    def _set_aside(self) -> None:
        # Renamed, not deleted: the path may have been given by mistake.
        self.path.replace(self._beside(".damaged"))
        self._remove_side_files()

    def _remove_side_files(self) -> None:
        for suffix in ("-wal", "-shm"):
            self._beside(suffix).unlink(missing_ok=True)

    def _beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def _is_damaged(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
