"""A SQLite file that several processes share, and the connections to it."""

import sqlite3
from pathlib import Path
from typing import Final

#: Pages (4 KiB) in the log file before it is copied back: rare enough not to be felt, small enough to read.
CHECKPOINT_PAGES: Final = 4_000


class SqliteFile:
    """The database file of a store, which must stay the file that it was when the process began.

    Parameters:
      path: Where it is; made with its folder when missing, readable by its owner only.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self._inode = path.stat().st_ino

    def check(self) -> None:
        """Make sure that the file at the path is still the one.

        Raises:
          FileNotFoundError: It is not; what is written or read elsewhere would be lost or wrong.
        """
        if self.path.stat().st_ino != self._inode:
            raise FileNotFoundError(f"{self.path} was replaced; put it back, or restart")

    def connect(self, cache_kib: int) -> sqlite3.Connection:
        """Open a connection (WAL, ``synchronous=FULL``), never to a new file.

        Parameters:
          cache_kib: The most that its cache takes, in KiB.

        Raises:
          FileNotFoundError: The file is not there any more.
          sqlite3.Error: It cannot be opened.
        """
        self.check()
        # the file lock of the writer keeps order; the busy handler is for a backup tool that holds the file
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=5,
            cached_statements=256,
        )
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            f"wal_autocheckpoint={CHECKPOINT_PAGES}",
            f"cache_size=-{cache_kib}",
        ):
            connection.execute(f"PRAGMA {pragma}")
        return connection
