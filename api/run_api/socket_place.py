"""The unix socket of the run API: one ingress at a time holds it, and the next one takes it over."""

import contextlib
import fcntl
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from lightning.shim.unix_address import unix_address

_BACKLOG: Final = 1024


class SocketPlace:
    """The path of a socket, and the right to listen there.

    The right is a file lock, which the kernel takes from a process that dies, however it dies. So a socket
    that was left behind is known from one that works, and a second ingress on one data directory waits for
    its turn instead of taking the place of the first, whose runs would be cut off.

    Parameters:
      path: Where the socket stands; the lock stands beside it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: int | None = None

    def take(self) -> bool:
        """Take the place if nobody has it; tell whether it is ours.

        Raises:
          OSError: The directory cannot be used.
        """
        if self._lock is None:
            handle = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                return False
            self._lock = handle
        return True

    def listen(self) -> socket.socket:
        """Listen there, in place of a socket that was left behind.

        Only the owner of the process may connect: the mode is set before anybody can.

        Raises:
          OSError: The directory cannot be used.
        """
        draft = Path(f"{self._path}.new")
        draft.unlink(missing_ok=True)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with contextlib.ExitStack() as stack:
            stack.callback(made.close)
            with unix_address(str(draft)) as address:
                made.bind(address)
            draft.chmod(0o600)
            made.listen(_BACKLOG)
            made.settimeout(0)
            draft.rename(self._path)
            stack.pop_all()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the place to others; without the socket, if it was ours."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None
