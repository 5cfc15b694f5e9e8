"""A lock between the processes that share a file, in the order in which they ask for it.

It is made of two: whoever waits holds the first and is next to take the second, so that
a busy process cannot overtake a waiting one for ever.
"""

import fcntl
import os
import time
from pathlib import Path
from types import TracebackType


class FairFileLock:
    """An exclusive lock between processes under which a waiter is always next.

    Parameters:
      path: The file that is guarded; the locks stand beside it.
      seconds: How long to wait for it.
    """

    def __init__(self, path: Path, seconds: float) -> None:
        self._seconds = seconds
        self._queue_fd = os.open(f"{path}-queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._turn_fd = os.open(f"{path}-turn.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def __enter__(self) -> None:
        deadline = time.monotonic() + self._seconds
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
