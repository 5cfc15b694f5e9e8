"""Notices that something has not been used for a time."""

import asyncio
from collections.abc import Callable


class IdleTimer:
    """Calls back once nothing has happened for some seconds.

    Touching it costs an assignment: the timer that is set already is let run, and set again for the rest.

    Parameters:
      seconds: How long nothing may happen.
      expired: What is called then, once.
    """

    __slots__ = ("_expired", "_handle", "_loop", "last", "seconds")

    def __init__(self, seconds: float, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired = expired
        self.seconds = seconds
        self.last = self._loop.time()
        self._handle = self._loop.call_later(seconds, self._check)

    def touch(self) -> None:
        """Something has happened."""
        self.last = self._loop.time()

    def restart(self, seconds: float) -> None:
        """Count again from now, for other seconds."""
        self.cancel()
        self.seconds = seconds
        self.touch()
        self._handle = self._loop.call_later(seconds, self._check)

    def cancel(self) -> None:
        """Never call back."""
        self._handle.cancel()

    def _check(self) -> None:
        rest = self.last + self.seconds - self._loop.time()
        if rest > 0:
            self._handle = self._loop.call_later(rest, self._check)
        else:
            self._expired()
