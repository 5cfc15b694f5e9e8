"""Waking a process that waits for work, without polling: a board of sleepers and a pipe to each.

The board is a small shared file: one byte per slot says that its owner is asleep, eight more what it waits
for. The pipe is a FIFO, opened relative to the directory so that no length limit of socket names applies.
Owners hold a ``flock`` on their FIFO, which ends with their process. A sleeper announces itself, looks for
work once more and only then sleeps; a sender commits first and looks at the board afterwards. So one of the
two always sees the other.
"""

import contextlib
import errno
import fcntl
import functools
import hashlib
import logging
import mmap
import os
import select
import threading
from pathlib import Path

#: The sleepers (one for each consumer of each process) that can be woken; more than that fall back to
#: looking for themselves.
SLOTS = 256

_DIGEST_BYTES = 8
_BOARD_BYTES = SLOTS * (1 + _DIGEST_BYTES)
_ASLEEP = 1

_logger = logging.getLogger(__name__)


class Wakeup:
    """Wakes those who wait for a topic, in any process that uses the same directory.

    Parameters:
      directory: Holds the board and the pipes; created when it is missing. When it is removed, users notice
        and create it anew.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._board: _Board | None = None

    def wake(self, topic: str, *, everyone: bool = False) -> None:
        """Wake one sleeper of a topic, or all of them.

        Never raises: the work is already committed, and a sleeper that is not woken finds it a little later.
        """
        try:
            board = self.board()
        except OSError as error:
            _logger.warning("Cannot wake anyone through %s: %s", self._directory, error)
            return
        digest = _digest(topic)
        for slot in board.sleeping(digest):
            if board.ring(slot) and not everyone:
                return

    def board(self) -> "_Board":
        """The board as it is on the disk now."""
        board = self._board
        if board is None or not board.is_current():
            # Two threads may do this at once: both boards show the same file.
            board = self._board = _Board(self._directory)
        return board


class Sleeper:
    """One who waits for a topic. All but :meth:`nudge` belongs to the thread that sleeps.

    Parameters:
      wakeup: Where to be woken.
      topic: What to wait for.
    """

    def __init__(self, wakeup: Wakeup, topic: str) -> None:
        self._wakeup = wakeup
        self._topic = topic
        self._lock = threading.Lock()
        self._closed = False
        self._warned = False
        self._slot = -1
        self._fifo = -1
        self._nudged, self._nudge = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._nudged, select.POLLIN)
        self._board: _Board | None = None
        self._take_slot()

    def announce(self) -> None:
        """Say that we are about to sleep. Look for work after this, and before :meth:`sleep`."""
        if self._board is not None:
            self._board.flags[self._slot] = _ASLEEP

    def withdraw(self) -> None:
        """Say that we are awake, so that somebody else is woken."""
        if self._board is not None:
            self._board.flags[self._slot] = 0

    def sleep(self, seconds: float) -> None:
        """Wait until woken, nudged, or the time is over."""
        if self._board is None or not self._board.is_current():
            self._leave_slot()
            self._take_slot()
            if self._board is not None:
                return  # nobody has seen us announced on this board
        for descriptor, _ in self._poll.poll(max(0.0, seconds * 1000)):
            with contextlib.suppress(OSError):  # nothing to read, or closed meanwhile
                os.read(descriptor, 4096)

    def nudge(self) -> None:
        """Wake this sleeper from another thread of its process."""
        with self._lock:
            if not self._closed:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._nudge, b"!")

    def close(self) -> None:
        """Leave the board."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._leave_slot()
            os.close(self._nudged)
            os.close(self._nudge)

    def _take_slot(self) -> None:
        try:
            board = self._wakeup.board()
            taken = board.take(_digest(self._topic))
        except OSError as error:
            _logger.warning("Cannot be woken: %s", error)
            return
        if taken is None:
            if not self._warned:
                _logger.warning("All %d slots for sleepers are taken: %s is polled.", SLOTS, self._topic)
            self._warned = True
            return
        self._board = board
        self._slot, self._fifo = taken
        self._poll.register(self._fifo, select.POLLIN)

    def _leave_slot(self) -> None:
        if self._board is not None:
            self._board.flags[self._slot] = 0
            self._poll.unregister(self._fifo)
            os.close(self._fifo)
            self._board = None


class _Board:
    """The shared file and the pipes, as one process sees them."""

    def __init__(self, directory: Path) -> None:
        self._descriptors: list[int] = []
        self._writers: dict[int, int] = {}
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptors.append(self._directory)
        descriptor = os.open(
            "board", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode=0o600, dir_fd=self._directory
        )
        try:
            # Really allocated: writing to a hole of a mapped file on a full disk kills the process.
            os.posix_fallocate(descriptor, 0, _BOARD_BYTES)
            self.flags = mmap.mmap(descriptor, _BOARD_BYTES)
        finally:
            os.close(descriptor)

    def __del__(self) -> None:
        # Other threads may still use the board when a newer one replaces it, hence no close method.
        for descriptor in (*self._writers.values(), *self._descriptors):
            os.close(descriptor)

    def is_current(self) -> bool:
        return os.fstat(self._directory).st_nlink > 0  # zero once it is removed

    def sleeping(self, digest: bytes) -> list[int]:
        found: list[int] = []
        slot = self.flags.find(b"\1", 0, SLOTS)
        while slot >= 0:
            at = SLOTS + slot * _DIGEST_BYTES
            if self.flags[at : at + _DIGEST_BYTES] == digest:
                found.append(slot)
            slot = self.flags.find(b"\1", slot + 1, SLOTS)
        return found

    def ring(self, slot: int) -> bool:
        """Wake the owner of a slot; False when it has died."""
        self.flags[slot] = 0  # the next sender wakes somebody else
        try:
            os.write(self._writer(slot), b"!")
        except BlockingIOError:
            return True  # the pipe is full of calls that it has not answered yet
        except OSError as error:
            if error.errno not in {errno.ENXIO, errno.EPIPE, errno.ENOENT}:
                _logger.warning("Cannot wake sleeper %d: %s", slot, error)
            return False
        return True

    def take(self, digest: bytes) -> tuple[int, int] | None:
        """Own a free slot.

        Returns:
          The slot and the descriptor of its pipe, or None when all are taken.
        """
        for slot in range(SLOTS):
            with contextlib.suppress(FileExistsError):
                os.mkfifo(str(slot), 0o600, dir_fd=self._directory)
            # Open for writing as well, or it would be readable for ever once a sender closed it.
            flags = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC
            fifo = os.open(str(slot), flags, dir_fd=self._directory)
            try:
                fcntl.flock(fifo, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fifo)
                continue
            at = SLOTS + slot * _DIGEST_BYTES
            self.flags[slot] = 0
            self.flags[at : at + _DIGEST_BYTES] = digest
            return slot, fifo
        return None

    def _writer(self, slot: int) -> int:
        writer = self._writers.get(slot)
        if writer is None:
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            opened = os.open(str(slot), flags, dir_fd=self._directory)
            writer = self._writers.setdefault(slot, opened)
            if writer != opened:
                os.close(opened)  # another thread was faster
        return writer


@functools.lru_cache(maxsize=1024)
def _digest(topic: str) -> bytes:
    return hashlib.blake2b(topic.encode(), digest_size=_DIGEST_BYTES).digest()
