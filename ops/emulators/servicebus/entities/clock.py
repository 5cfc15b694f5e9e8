"""One heap of alarms for everything that is due at a time, with one timer of the loop for the earliest."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

#: How many cancelled alarms may lie in the heap before it is swept.
MAX_DEAD = 1000


class Alarm:
    """Something to do at a time.

    Parameters:
      due: Seconds since the Unix epoch.
      action: What to do; None: nothing any more.
    """

    __slots__ = ("action", "due")

    def __init__(self, due: float, action: Callable[[], None] | None) -> None:
        self.due = due
        self.action = action


class Clock:
    """Does things when they are due."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[tuple[float, int, Alarm]] = []
        self._numbers = itertools.count()
        self._dead = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    def now(self) -> float:
        """Give the time in seconds since the Unix epoch."""
        return time.time()

    def at(self, due: float, action: Callable[[], None]) -> Alarm:
        """Do something at a time, at once if that is past."""
        alarm = Alarm(due, action)
        heapq.heappush(self._heap, (due, next(self._numbers), alarm))
        if self._timer is None or due < self._timer_due:
            self._set()
        return alarm

    def cancel(self, alarm: Alarm) -> None:
        """Forget an alarm."""
        if alarm.action is not None:
            alarm.action = None
            self._dead += 1
            if self._dead > MAX_DEAD and self._dead > len(self._heap) // 2:
                self._heap = [entry for entry in self._heap if entry[2].action is not None]
                heapq.heapify(self._heap)
                self._dead = 0

    def stop(self) -> None:
        """Do nothing any more."""
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_due = self._heap[0][0]
        self._timer = self._loop.call_later(max(0.0, self._timer_due - time.time()), self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = time.time()
        while self._heap and self._heap[0][0] <= now:
            alarm = heapq.heappop(self._heap)[2]
            action, alarm.action = alarm.action, None
            if action is None:
                self._dead -= 1
            else:
                action()
        if self._heap and self._timer is None:
            self._set()
