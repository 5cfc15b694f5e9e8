"""Group commit for SQLite: one thread a process writes, whole batches at a time.

Each batch is decided inside a write transaction, so its conditions and its
writes are one moment. Everything that arrives while a transaction is being
synced to disk shares the next one. Between processes two file locks keep
order: whoever waits holds the first and is next to take the second, so that
a busy process cannot overtake a waiting one for ever.
"""

import asyncio
import fcntl
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from lightning.answers import Answers, Caller, caller
from lightning.errors import LightningError, Transient

#: Transactions are cut here, so that a waiting process gets its turn.
BATCHES_PER_TRANSACTION = 128

#: A write that does not get its turn within this time fails; the caller may try again.
LOCK_SECONDS = 5.0

Write = Callable[[sqlite3.Connection], Any]
_Job = tuple[Write, Caller]


class FairFileLock:
    """An exclusive lock between processes under which a waiter is always next."""

    def __init__(self, path: Path) -> None:
        self._queue_fd = os.open(f"{path}-queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn_fd = os.open(f"{path}-turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        deadline = time.monotonic() + LOCK_SECONDS
        _lock(self._queue_fd, deadline)
        try:
            _lock(self._turn_fd, deadline)
        finally:
            fcntl.flock(self._queue_fd, fcntl.LOCK_UN)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl.flock(self._turn_fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give up the files."""
        os.close(self._queue_fd)
        os.close(self._turn_fd)


def _lock(handle: int, deadline: float) -> None:
    """Take a file lock, or give up: a process that stands still with it must not hang all others."""
    pause = 0.000_05
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("another process holds the store") from None
            time.sleep(pause)
            pause = min(pause * 1.5, 0.002)
        else:
            return


class Writer:
    """The writing thread of one database file.

    Parameters:
      path: The database file.
      connect: Opens a connection to it; called on the writing thread.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
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

    async def close(self) -> None:
        """Finish what was handed in, then stop the thread."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        lock = FairFileLock(self._path)
        stopping = False
        while not stopping and (job := self._jobs.get()) is not None:
            jobs = [job]
            try:
                with lock:
                    stopping = self._gather(jobs)
                    answers = _commit(self._opened(), jobs)
            except TimeoutError as error:
                stopping = self._gather(jobs)  # they have waited as long: nobody waits for a second turn
                answers = _failed(jobs, error)
            except (sqlite3.Error, OSError) as error:
                answers = _failed(jobs, error)
            answers.send()
        if self._connection is not None:
            self._connection.close()
        lock.close()

    def _opened(self) -> sqlite3.Connection:
        """Give the connection, and make sure that the file it writes to is still the one at the path."""
        if self._connection is None:
            self._connection = self._connect()
            self._inode = self._path.stat().st_ino
        if self._path.stat().st_ino != self._inode:
            raise FileNotFoundError(f"{self._path} was replaced; put it back, or restart")
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
            except sqlite3.Error:
                raise
            except Exception as error:  # noqa: BLE001 -- it belongs to the caller, who gets it
                answers.error(waiting, error)
            else:
                answers.result(waiting, result)
        connection.execute("COMMIT")
    except sqlite3.Error:
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
    return Transient(
        f"the store is not available ({error}); check the disk and the data directory",
        retry_after=1,
        code="store_unavailable",
    )
