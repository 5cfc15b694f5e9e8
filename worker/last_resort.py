"""Ends a process that nothing else would end."""

import faulthandler
import math
import threading
import time

#: The timer of `faulthandler` takes no less.
_LEAST_SECONDS = 0.001


class LastResort:
    """Ends the process with status 1 at the first of its deadlines, and shows what every thread did.

    Nothing that runs in the process can hold that up, be it a loop in C code. `faulthandler` has one timer,
    so a process has one of these.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end_at = self._stuck_at = math.inf

    def end_within(self, seconds: float) -> None:
        """End the process if it still runs then."""
        with self._lock:
            self._end_at = time.monotonic() + seconds
            self._arm()

    def stuck_within(self, seconds: float) -> None:
        """End the process then, unless this is called again before; infinity calls it off."""
        with self._lock:
            self._stuck_at = time.monotonic() + seconds
            self._arm()

    def _arm(self) -> None:
        first = min(self._end_at, self._stuck_at)
        if first == math.inf:
            faulthandler.cancel_dump_traceback_later()
        else:
            faulthandler.dump_traceback_later(max(first - time.monotonic(), _LEAST_SECONDS), exit=True)
