"""Notices that the clock of the machine was put forward or back while this process runs."""

import time
from collections.abc import Callable
from typing import Final

#: The wall clock is slewed by less than this between two looks of a busy process; more is a jump.
JUMP_SECONDS: Final = 5.0


class Jumps:
    """Compares the wall clock with one that only goes forward.

    After a jump, what was written down before it is wrong for a while: claims of workers that live look as if
    they had run out, until these renew them.

    Parameters:
      settle_seconds: So long after a jump such times count for nothing: within it, whoever lives renews them.
      wall: Seconds since 1970, as the machine says.
      steady: Seconds that only go forward.
    """

    def __init__(
        self,
        settle_seconds: float,
        *,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle_seconds = settle_seconds
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._settled_at = steady()

    def settling_seconds(self) -> float:
        """Give the seconds until times count again that were written down before; 0 without a jump."""
        now = self._steady()
        offset = self._wall() - now
        if abs(offset - self._offset) > JUMP_SECONDS:
            self._settled_at = now + self._settle_seconds
        self._offset = offset
        return max(0.0, self._settled_at - now)
