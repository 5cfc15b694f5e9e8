"""Latency: data come later and in order, and nothing waits for anything else."""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Latency:
    """How much later data come, in seconds.

    Parameters:
      inward: From a client.
      outward: To a client.
    """

    inward: float = 0.0
    outward: float = 0.0


class DelayLine:
    """Hands data on after a time, in order, as a long cable would: the next does not wait for the last.

    Parameters:
      deliver: What takes the data.
    """

    __slots__ = ("_deliver", "_loop", "_timer", "_waiting")

    def __init__(self, deliver: Callable[[bytes], None]) -> None:
        self._deliver = deliver
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def put(self, data: bytes, seconds: float) -> None:
        """Hand data on after some seconds; at once if there is nothing to wait for."""
        if not seconds and not self._waiting:
            self._deliver(data)
            return
        due = self._loop.time() + seconds
        if self._waiting:
            due = max(due, self._waiting[-1][0])
        self._waiting.append((due, data))
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._ripen)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is under way."""
        return not self._waiting

    def cut(self) -> None:
        """Lose what is under way."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ripen(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            self._deliver(self._waiting.popleft()[1])
        if self._waiting and self._timer is None:
            self._timer = self._loop.call_at(self._waiting[0][0], self._ripen)
