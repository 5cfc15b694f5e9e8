"""Short looks through a SQLite file, made at once: handing one to a thread costs more than most take.

A look that proves long is given up, so that the event loop is held for no more than a moment.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from lightning.storage.port import Page
from lightning.storage.sqlite_query import TooMuch, read_page

#: Instructions of SQLite's: well under a millisecond, and enough for some hundred documents.
GLANCE_INSTRUCTIONS: Final = 5_000

#: Bytes of documents, whose JSON is read in well under a millisecond.
GLANCE_BYTES: Final = 128 * 1024


class Glances:
    """Looks on a connection of their own; belongs to one event loop.

    Parameters:
      connection: Used for nothing else.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.set_progress_handler(lambda: True, GLANCE_INSTRUCTIONS)

    def page(self, sql: str, values: Sequence[Any], limit: int, order_by: str) -> Page | None:
        """Read a page; None where that takes longer than a glance.

        Raises:
          sqlite3.Error: The file cannot be read.
        """
        try:
            return read_page(self._connection, sql, values, limit, order_by, most_bytes=GLANCE_BYTES)
        except TooMuch:
            return None
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return None
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
