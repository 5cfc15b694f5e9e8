"""An event loop with a time of its own, for which no machine is too slow: it passes where all wait for it."""

import asyncio
import selectors
from collections.abc import Iterator
from contextlib import contextmanager


class OwnTime(asyncio.SelectorEventLoop):
    """A loop whose time stands still while anything is done, and else goes at once to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        self._outside = 0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now

    @contextmanager
    def outside(self) -> Iterator[None]:
        """Wait within for what is not done on the loop, such as on a thread."""
        self._outside += 1
        try:
            yield
        finally:
            self._outside -= 1

    def has_work(self) -> bool:
        return self._outside > 0


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: OwnTime) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None):
        if not timeout:  # there is something to do, or nothing waits for the time
            return super().select(timeout)
        if self._loop.has_work():
            return super().select(None)
        self._loop.now += timeout
        return super().select(0)
