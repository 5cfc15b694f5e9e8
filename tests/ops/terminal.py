"""A program at a terminal of its own, as a person uses it."""

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

CTRL_C, CTRL_D = "\x03", "\x04"


class Terminal:
    """Runs a program with a pseudo-terminal as its controlling one, so that Ctrl-C is a signal.

    Parameters:
      command: The program.
      environment: Its environment; the terminal is a dumb one unless this says otherwise.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**environment, "TERM": "dumb"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- one call, no lock
        )
        os.close(theirs)
        self.seen = ""  #: everything that was printed so far
        self._waited = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def until(self, text: str, *, seconds: float = 20.0) -> str:
        """Wait until a text is printed, beyond what was waited for before; give all up to it."""
        begin, deadline = self._waited, time.monotonic() + seconds
        while text not in self.seen[begin:]:
            assert time.monotonic() < deadline, f"{text!r} is not in {self.seen[begin:]!r}"
            assert self._read(), f"it ended, and {text!r} is not in {self.seen[begin:]!r}"
        self._waited = self.seen.index(text, begin) + len(text)
        return self.seen[begin : self._waited]

    def end(self, *, seconds: float = 20.0) -> int:
        """Wait until the program ends, and give its status."""
        deadline = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < deadline, f"it does not end; it printed {self.seen!r}"
        return self.process.wait(seconds)

    def insist(self, key: str, *, seconds: float = 20.0) -> int:
        """Press a key until the program ends: Python may not see a signal that comes as it begins to read."""
        deadline = time.monotonic() + seconds
        while True:
            self.type(key)
            for _ in range(10):
                if not self._read():
                    return self.process.wait(seconds)
            assert time.monotonic() < deadline, f"it does not end; it printed {self.seen!r}"

    def _read(self) -> bool:
        """Read what was printed within a moment; False when the terminal was left by all."""
        if select.select([self._ours], [], [], 0.1)[0]:
            try:
                read = os.read(self._ours, 65536)
            except OSError:  # nobody holds the other side any more
                return False
            self.seen += read.decode(errors="replace")
        return True
