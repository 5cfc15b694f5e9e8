"""One SQLite file that many threads of many processes write: short transactions, committed in groups.

Whoever holds the lock commits everybody's waiting operations in one transaction, so that the price of a
commit is shared. Between processes the lock is a ``flock``: SQLite's own busy handler polls with a growing
delay, and a writer that loses a few rounds waits for a second.
"""

import contextlib
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

T = TypeVar("T")

#: The operations that one transaction takes at most; others wait for the next one.
MAX_GROUP = 512

#: How often one group is tried while somebody removes the file under it.
MAX_ATTEMPTS = 20

#: The log grows to about this many pages (4 KiB each) before its content moves into the file.
CHECKPOINT_PAGES = 4000

_SYNCHRONOUS = frozenset({"OFF", "NORMAL", "FULL", "EXTRA"})

_logger = logging.getLogger(__name__)

#: Device and inode of a file, or None when it is missing.
_Identity = tuple[int, int] | None

#: Those of the database, its log and its shared memory.
_Identities = tuple[_Identity, _Identity, _Identity]


class GroupCommit:
    """Runs operations on one SQLite file, grouped into transactions.

    Nothing is opened before the first operation. A fork waits for the transaction under way and closes the
    file first, because SQLite's bookkeeping must not be inherited; parent and child each open it again.

    A file that is removed or replaced while it is open is noticed at the next transaction and created anew.

    Parameters:
      path: The database file. Its directory is created when it is missing.
      schema: Statements that create what is missing; run each time that the file is opened.
      synchronous: SQLite's setting: ``NORMAL`` survives the death of any process, ``FULL`` also that of the
        machine.
      busy_timeout_seconds: How long to wait for a foreign program's lock on the file.

    Raises:
      ValueError: When ``synchronous`` is not a setting of SQLite.
    """

    def __init__(self, path: Path, schema: str, *, synchronous: str, busy_timeout_seconds: float) -> None:
        if synchronous.upper() not in _SYNCHRONOUS:
            raise ValueError(f"synchronous must be one of {sorted(_SYNCHRONOUS)}, not {synchronous!r}")
        self.path = path
        #: Counts how often the file was replaced under us: what an earlier generation held is gone.
        self.generation = 0
        self._names = (str(path), f"{path}-wal", f"{path}-shm")
        self._schema = schema
        self._synchronous = synchronous.upper()
        self._busy_timeout_seconds = busy_timeout_seconds
        self._lock = threading.Lock()
        self._waiting: deque[_Operation[Any]] = deque()
        self._connection: sqlite3.Connection | None = None
        self._files: _Identities = (None, None, None)
        self._turn: int | None = None
        _close_around_fork(self)

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
        with self._lock:
            if not own.done:
                self._lead(own)
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
            raise ConnectionFailed(f"cannot open {self.path}.lock: {error}") from error
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            group = self._gather(own)
            try:
                self._commit(group)
            except (sqlite3.Error, OSError, BrokerConnectionError) as error:
                self._close_connection()
                for operation in group:
                    operation.fail(error, self.path)
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
            try:
                _transact(self._open_connection(), group)
                # Into a file that has lost its name meanwhile? Then once more, into its successor.
                if not self._is_replaced():
                    break
            except sqlite3.Error:
                if attempt == MAX_ATTEMPTS or self._files == self._identify():
                    raise
            _logger.warning("The queue file %s was removed or replaced; creating it anew.", self.path)
            self._close_connection()
        for operation in group:
            operation.done = True

    def _open_turn(self) -> int:
        if self._turn is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._turn = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._turn

    def _open_connection(self) -> sqlite3.Connection:
        if self._connection is not None:
            # Writing to a log that others no longer read would damage the file. That the database itself is
            # still in its place is checked after the commit, where it matters.
            if self._files[1:] == (_identify(self._names[1]), _identify(self._names[2])):
                return self._connection
            self._close_connection()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(1, MAX_ATTEMPTS + 1):
            opened = self._try_to_open(last=attempt == MAX_ATTEMPTS)
            if opened is not None:
                return opened
        raise ConnectionFailed(f"{self.path} is removed again and again while it is being opened")

    def _try_to_open(self, *, last: bool) -> sqlite3.Connection | None:
        incomplete = False
        for name in self._names:
            # Neither may a new database begin with an old one's log, nor a new log with an old one's index.
            incomplete = incomplete or _identify(name) is None
            if incomplete:
                Path(name).unlink(missing_ok=True)
        before = self._identify()
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            opened = _identify(self._names[0])
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            connection.execute("PRAGMA cache_size = -16384")
            connection.executescript(self._schema)
            files = self._identify()
            kept = all(then in {None, now} for then, now in zip(before, files, strict=True))
            if kept and files[0] == opened and None not in files:
                self._connection, self._files = connection, files
                return connection
        except sqlite3.Error as error:
            if last or error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                connection.close()
                raise
        connection.close()  # somebody removes files while we open them
        return None

    def _identify(self) -> _Identities:
        database, log, shared_memory = self._names
        return _identify(database), _identify(log), _identify(shared_memory)

    def _is_replaced(self) -> bool:
        return self._files[0] != _identify(self._names[0])

    def _close_connection(self) -> None:
        if self._connection is None:
            return
        # Asked while the old file is open: once it is closed, a new one may get the same inode.
        with contextlib.suppress(OSError):
            self.generation += self._is_replaced()
            if all(now in {None, then} for now, then in zip(self._identify(), self._files, strict=True)):
                # When only the log was removed, its content is saved by this connection or not at all. If
                # somebody has begun a new log, though, the old one must not be written over its base.
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self._connection.close()
        self._connection = None

    def _close_turn(self) -> None:
        if self._turn is not None:
            os.close(self._turn)
            self._turn = None

    def _close_files(self) -> None:
        self._close_connection()
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


def _translated(error: Exception) -> Exception:
    if not isinstance(error, sqlite3.Error):
        return error
    closed = ConnectionClosed(f"the queue file failed: {error}")
    closed.__cause__ = error
    return closed


def _identify(path: str) -> _Identity:
    try:
        found = os.stat(path)  # noqa: PTH116 - runs in every transaction, and Path.stat costs twice as much
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


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
