"""Group commit for SQLite: one thread a process writes, whole batches at a time.

Each batch is decided inside a write transaction, so its conditions and its
writes are one moment. Everything that arrives while a transaction is being
synced to disk shares the next one. Between processes a file
lock keeps order.
"""

import asyncio
import os
import queue
import sqlite3
import tempfile
import threading
from collections.abc import Callable
from typing import Any

from lightning.answers import Answers, Caller, caller
from lightning.errors import LightningError, Transient
from lightning.storage.file_lock import FairFileLock
from lightning.storage.sqlite_file import SqliteFile

#: Transactions are cut here, so that a waiting process gets its turn.
BATCHES_PER_TRANSACTION = 128

#: A write that does not get its turn within this time fails; the caller may try again.
LOCK_SECONDS = 5.0

#: After a write that failed, the store counts as available when there is room for so many bytes: the largest
#: event, and some more.
ROOM_BYTES = 1024 * 1024

Write = Callable[[sqlite3.Connection], Any]
_Job = tuple[Write, Caller]


class Writer:
    """The writing thread of one database file.

    Parameters:
      file: The database file.
      cache_kib: The most that the cache of its connection takes, in KiB.
    """

    def __init__(self, file: SqliteFile, cache_kib: int) -> None:
        self._file = file
        self._cache_kib = cache_kib
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="storage-writer", daemon=True)
        self._thread.start()

    async def write(self, write: Write) -> Any:
        """Run ``write`` in a transaction and wait until it is on disk.

        ``write`` must check everything before it changes anything: when it
        raises a `LightningError`, the rest of the transaction is committed.

        Raises:
          LightningError: What ``write`` raised.
          Transient: The transaction could not be committed.
        """
        waiting = caller()
        self._jobs.put((write, waiting))
        return await waiting[1]

    def check_room(self) -> None:
        """Find out whether there is room again, if the latest write failed; within a ``write``.

        Changing nothing needs no room, so it does not tell.

        Raises:
          Transient: There is none.
        """
        if not self._has_failed:
            return
        try:
            # beside the database, in which a small write may still fit; without a name, so that none is left
            with tempfile.TemporaryFile(dir=self._file.path.parent, buffering=0) as file:
                left = ROOM_BYTES
                while left:
                    left -= file.write(bytes(left))
                os.fsync(file.fileno())
        except OSError as error:
            raise unavailable(error) from error
        self._has_failed = False

    async def close(self) -> None:
        """Finish what was handed in, then stop the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        lock = FairFileLock(self._file.path, LOCK_SECONDS)
        stopping = False
        while not stopping and (job := self._jobs.get()) is not None:
            jobs = [job]
            try:
                with lock:
                    stopping = self._gather(jobs)
                    connection = self._opened()
                    changes = connection.total_changes
                    answers = _commit(connection, jobs)
                    if connection.total_changes != changes:
                        self._has_failed = False
            except TimeoutError as error:
                stopping = self._gather(jobs)  # they have waited as long: nobody waits for a second turn
                answers = _failed(jobs, error)
            except Exception as error:  # noqa: BLE001 -- nobody else writes: it has to go on, and they to hear
                self._has_failed = True
                answers = _failed(jobs, error)
            answers.send()
        if self._connection is not None:
            self._connection.close()
        lock.close()

    def _opened(self) -> sqlite3.Connection:
        """Give the connection, and make sure that the file it writes to is still the one at the path."""
        if self._connection is None:
            self._connection = self._file.connect(self._cache_kib)
        self._file.check()
        return self._connection

    def _gather(self, jobs: list[_Job]) -> bool:
        """Add what else is waiting; tell whether the end of the thread was among it."""
        while len(jobs) < BATCHES_PER_TRANSACTION:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return False
            if job is None:
                return True
            jobs.append(job)
        return False


def _commit(connection: sqlite3.Connection, jobs: list[_Job]) -> Answers:
    answers = Answers()
    try:
        connection.execute("BEGIN IMMEDIATE")
        for write, waiting in jobs:
            try:
                result = write(connection)
            except (
                sqlite3.Error,
                MemoryError,
            ):  # how SQLite, or Python for it, says that it failed in the midst
                raise
            except Exception as error:  # noqa: BLE001 -- it belongs to the caller, who gets it
                answers.error(waiting, error)
            else:
                answers.result(waiting, result)
        connection.execute("COMMIT")
    except (sqlite3.Error, MemoryError):
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return answers


def _failed(jobs: list[_Job], error: Exception) -> Answers:
    answers = Answers()
    for _, waiting in jobs:
        answers.error(waiting, unavailable(error))
    return answers


def unavailable(error: Exception) -> LightningError:
    """Say in our words that the database file does not serve."""
    why = str(error) or type(error).__name__
    return Transient(
        f"the store is not available ({why}); check the disk and the data directory",
        retry_after=1,
        code="store_unavailable",
    )
