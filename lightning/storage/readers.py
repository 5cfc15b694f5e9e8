"""Threads that read a SQLite file, so that a long look through it holds up nobody's event loop.

They are shared fairly: a user has some of them at a time, whatever they ask for, and a look ends after a
while. So nobody keeps the others waiting, nor the log file of the database from being emptied.
"""

import asyncio
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, LifoQueue
from threading import Lock
from typing import Any, Final

#: More than there are cores to read: a few long looks do not keep the short ones waiting.
THREADS: Final = 8

#: Looks of one user at a time: beside a long one there is room for a short one.
READS_PER_USER: Final = 2

#: Looks of one user that wait for their turn; more are refused.
MAX_WAITING: Final = 512

#: A look that takes longer is ended.
READ_SECONDS: Final = 5.0

#: Instructions of SQLite's between two looks at the clock: a few milliseconds.
_INSTRUCTIONS: Final = 100_000

Read = Callable[[sqlite3.Connection], Any]


class TooManyReads(Exception):
    """One user asks for more at once than waits."""


@dataclass(frozen=True, slots=True)
class _Job:
    read: Read
    user: str | None
    done: Future[Any] = field(default_factory=Future[Any])


class Readers:
    """The reading threads of one database file, each read on a connection that no other read uses.

    Parameters:
      connect: Opens a connection; called on a reading thread.
      read_seconds: How long one read may take, its wait for a thread left out.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection], *, read_seconds: float) -> None:
        self._connect = connect
        self._read_seconds = read_seconds
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="storage-reader")
        # the one that was used last has the most in its cache
        self._idle: LifoQueue[sqlite3.Connection] = LifoQueue()
        self._lock = Lock()
        self._closed = False
        #: How many each user has with the threads, and those that wait behind them.
        self._begun: dict[str | None, int] = {}
        self._waiting: dict[str | None, deque[_Job]] = {}

    async def read(self, user: str | None, read: Read) -> Any:
        """Run ``read`` on a thread of its own, as soon as it is its user's turn.

        Parameters:
          user: For whom; None is nobody in particular.
          read: What to do with the connection.

        Raises:
          TimeoutError: It took too long.
          TooManyReads: Too many of this user wait.
          sqlite3.Error: What ``read`` raised, or nothing is read any more.
          OSError: The file is not there any more.
        """
        job = _Job(read, user)
        self._submit(job)
        return await asyncio.wrap_future(job.done)

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise sqlite3.ProgrammingError("the store is closed")
            begun = self._begun.get(job.user, 0)
            if begun < READS_PER_USER:
                self._begun[job.user] = begun + 1
                self._threads.submit(self._run, job)
                return
            waiting = self._waiting.setdefault(job.user, deque())
            if len(waiting) >= MAX_WAITING:
                raise TooManyReads
            waiting.append(job)

    def _run(self, job: _Job) -> None:
        # whoever asked may have gone
        if job.done.set_running_or_notify_cancel():
            try:
                job.done.set_result(self._timed(job.read))
            except Exception as error:  # noqa: BLE001 -- it belongs to the caller, who gets it
                job.done.set_exception(error)
        self._next(job.user)

    def _next(self, user: str | None) -> None:
        """Give the place to the next one of this user, behind those of others."""
        with self._lock:
            waiting = self._waiting.get(user)
            if waiting:
                self._threads.submit(self._run, waiting.popleft())
                return
            self._waiting.pop(user, None)
            self._begun[user] -= 1
            if not self._begun[user]:
                del self._begun[user]

    def _timed(self, read: Read) -> Any:
        try:
            connection = self._idle.get_nowait()
        except Empty:
            connection = self._connect()
        deadline = time.monotonic() + self._read_seconds
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _INSTRUCTIONS)
        try:
            return read(connection)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                raise TimeoutError(f"it took longer than {self._read_seconds:g} s") from error
            raise
        finally:
            self._idle.put(connection)

    async def close(self) -> None:
        """Finish what a thread has begun, refuse the rest, and close the connections."""
        with self._lock:
            self._closed = True
            refused = [job for waiting in self._waiting.values() for job in waiting]
            self._waiting.clear()
        for job in refused:
            if job.done.set_running_or_notify_cancel():
                job.done.set_exception(sqlite3.ProgrammingError("the store is closed"))
        await asyncio.to_thread(self._threads.shutdown)
        while not self._idle.empty():
            self._idle.get_nowait().close()
