"""The emulator's time, which a test can move forward."""

import time


class Clock:
    """Wall time, plus what it was advanced by."""

    def __init__(self) -> None:
        self._ahead_seconds = 0.0

    def now(self) -> float:
        """Give the time in seconds since 1970."""
        return time.time() + self._ahead_seconds

    def advance(self, seconds: float) -> None:
        """Move on, so that items expire without anybody waiting for it."""
        self._ahead_seconds += seconds
