"""One SQLite file that many threads of many processes write: short transactions, committed in groups.

Whoever holds the lock commits everybody's waiting operations in one transaction, so that the price of a
commit is shared. Between processes the lock is a ``flock``: SQLite's own busy handler polls with a growing
delay, and a writer that loses a few rounds waits for a second.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from dramatiq.errors import BrokerConnectionError, ConnectionClosed, ConnectionFailed

from brokers.sqlite_file import SqliteFile

T = TypeVar("T")

#: The operations that one transaction takes at most; others wait for the next one.
MAX_GROUP = 512

#: How often one group is tried while somebody removes the file under it.
MAX_ATTEMPTS = 20

_logger = logging.getLogger(__name__)


class GroupCommit:
    """Runs operations on one SQLite file, grouped into transactions.

    Nothing is opened before the first operation. A fork waits for the transaction under way and closes the
    file first, because SQLite's bookkeeping must not be inherited; parent and child each open it again.

    When the file is removed while it is open, the next transaction notices and creates it anew.

    Parameters:
      file: The file.
    """

    def __init__(self, file: SqliteFile) -> None:
        #: Called in a child process after a fork.
        self.on_forked: Callable[[], None] = _nothing
        self._file = file
        self._lock = threading.Lock()
        self._waiting: deque[_Operation[Any]] = deque()
        self._turn: int | None = None
        _close_around_fork(self)

    @property
    def generation(self) -> int:
        """Counts how often the file was replaced: what was held in an earlier generation is gone."""
        return self._file.generation

    def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run an operation inside a transaction and return once that is committed.

        Parameters:
          operation: Works on the connection it is given. It may be called again when a transaction has to be
            repeated, and so must have no other effect than on the database.

        Returns:
          What the operation returned in the transaction that was committed.

        Raises:
          BrokerConnectionError: When SQLite failed: the file is locked, damaged, or its disk is full. The
            operation has then changed nothing.
        """
        own = _Operation(operation)
        self._waiting.append(own)
        try:
            with self._lock:
                if not own.done:
                    self._lead(own)
        except BaseException:
            own.done = True  # the caller believes that it failed: nobody may run it later
            raise
        if own.error is not None:
            raise own.error
        return cast("T", own.result)

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        with self._lock:
            self._close_files()

    def _lead(self, own: "_Operation[Any]") -> None:
        # Interrupts (a TimeLimit, a Shutdown) may be raised between any two calls here. Operations that are
        # not done are led by their own threads, which wait for the lock; so none is lost with the leader.
        generation = self.generation
        try:
            turn = self._open_turn()
        except OSError as error:
            own.fail(ConnectionFailed(f"cannot open its lock: {error}"), self._file.path)
            return
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            group = self._gather(own)
            try:
                self._commit(group)
            except (sqlite3.Error, OSError, BrokerConnectionError) as error:
                self._file.close()
                for operation in group:
                    operation.fail(error, self._file.path)
        finally:
            fcntl.flock(turn, fcntl.LOCK_UN)
        if generation != self.generation:
            # Its directory may have gone as well; new processes would queue up at another lock file.
            self._close_turn()

    def _gather(self, own: "_Operation[Any]") -> "list[_Operation[Any]]":
        group = [own]
        while self._waiting and len(group) < MAX_GROUP:
            operation = self._waiting.popleft()
            if operation is not own and not operation.done:
                group.append(operation)
        return group

    def _commit(self, group: "list[_Operation[Any]]") -> None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            connection = self._file.open()
            try:
                _transact(connection, group)
            except sqlite3.Error:
                if attempt == MAX_ATTEMPTS or self._file.is_intact():
                    raise
            else:
                # Into a file that has lost its name meanwhile? Then once more, into its successor.
                if not self._file.is_replaced():
                    break
            _logger.warning("The queue file %s was removed or replaced; creating it anew.", self._file.path)
            self._file.close()
        for operation in group:
            operation.done = True

    def _open_turn(self) -> int:
        if self._turn is None:
            self._file.path.parent.mkdir(parents=True, exist_ok=True)
            self._turn = os.open(f"{self._file.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._turn

    def _close_turn(self) -> None:
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def _close_files(self) -> None:
        self._file.close()
        self._close_turn()

    def before_fork(self) -> None:
        """Wait for the transaction under way, close the file, and keep other threads off."""
        self._lock.acquire()
        self._close_files()

    def after_fork_in_parent(self) -> None:
        """Let the other threads go on."""
        self._lock.release()

    def after_fork_in_child(self) -> None:
        """Start afresh: the threads whose operations wait do not exist here."""
        self._lock = threading.Lock()
        self._waiting.clear()
        self.on_forked()


class _Operation(Generic[T]):
    __slots__ = ("_function", "done", "error", "result")

    def __init__(self, function: Callable[[sqlite3.Connection], T]) -> None:
        self._function = function
        self.result: T | None = None
        self.error: Exception | None = None
        self.done = False

    def run_alone(self, connection: sqlite3.Connection) -> None:
        """Run, and end the transaction when that fails."""
        self.error = None
        try:
            self.result = self._function(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite has rolled it back
                raise
            connection.execute("ROLLBACK")
            self.error = _translated(error)

    def run_among_others(self, connection: sqlite3.Connection) -> None:
        """Run inside a savepoint, so that a failure here undoes nothing of the others."""
        self.error = None
        connection.execute("SAVEPOINT operation")
        try:
            self.result = self._function(connection)
        except Exception as error:
            if not connection.in_transaction:  # SQLite has rolled everything back, the others' work too
                raise
            connection.execute("ROLLBACK TO operation")
            self.error = _translated(error)
        connection.execute("RELEASE operation")

    def fail(self, error: Exception, path: Path) -> None:
        """Fail because the transaction as a whole did."""
        kind = type(error) if isinstance(error, BrokerConnectionError) else ConnectionClosed
        self.error = kind(f"{path}: {error}")
        self.error.__cause__ = error
        self.done = True


def _transact(connection: sqlite3.Connection, group: "list[_Operation[Any]]") -> None:
    try:
        connection.execute("BEGIN IMMEDIATE")
        if len(group) == 1:
            group[0].run_alone(connection)
        else:
            for operation in group:
                operation.run_among_others(connection)
        if connection.in_transaction:
            connection.execute("COMMIT")
    except BaseException:
        connection.rollback()
        raise


def _nothing() -> None:
    """Whoever has nothing to do after a fork does this."""


def _translated(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    closed = ConnectionClosed(f"the queue file failed: {error}")
    closed.__cause__ = error
    return closed


def _close_around_fork(commits: GroupCommit) -> None:
    # The interpreter keeps these hooks for ever, hence only weak references in them.
    reference = weakref.ref(commits)

    def call(method: Callable[[GroupCommit], None]) -> None:
        if (alive := reference()) is not None:
            method(alive)

    os.register_at_fork(
        before=lambda: call(GroupCommit.before_fork),
        after_in_parent=lambda: call(GroupCommit.after_fork_in_parent),
        after_in_child=lambda: call(GroupCommit.after_fork_in_child),
    )
