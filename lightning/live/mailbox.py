"""What one open stream has not taken yet; bounded, however slow its reader is."""

import asyncio
import math
from collections import deque
from contextlib import suppress

from lightning.live.frames import Delta, LiveFrame, RunFrame
from lightning.live.run_box import RunBox

#: Deltas that wait for one reader; the oldest give way.
MAX_DELTAS = 256
MAX_CHARACTERS = 256 * 1024

#: Answered events that a stream remembers, so that no delta comes behind its response.
MAX_ANSWERED = 256


class Mailbox:
    """Wakes one reader: the log may have grown, which is never forgotten, or there are live frames.

    Parameters:
      deltas: Whether the reader wants them: deltas, and the frames of runs.
    """

    def __init__(self, *, deltas: bool) -> None:
        self.wants_deltas = deltas
        self.position = 0  #: the place up to which the reader has been given the log
        self.dropped = 0  #: deltas that gave way to newer ones
        self._grown = True
        self._deltas: deque[Delta] = deque()
        self._characters = 0
        self._runs = RunBox()
        self._answered: dict[str, float] = {}  # the last attempt that is superseded
        self._news = asyncio.Event()

    def wake(self) -> None:
        """Say that the log may have grown, or that something else is to be looked at."""
        self._grown = True
        self._news.set()

    def put(self, delta: Delta) -> None:
        """Leave a delta, unless its event has been answered."""
        if not self.wants_deltas or self._is_superseded(delta):
            return
        self._deltas.append(delta)
        self._characters += len(delta.text)
        while len(self._deltas) > MAX_DELTAS or self._characters > MAX_CHARACTERS:
            self._characters -= len(self._deltas.popleft().text)
            self.dropped += 1
        self._news.set()

    def put_run(self, frame: RunFrame) -> None:
        """Leave what a run shows of itself, unless its task is over."""
        if self.wants_deltas:
            self._runs.put(frame)
            if self._runs:
                self._news.set()

    def take_grown(self) -> bool:
        """Tell whether the log may have grown since this was asked last."""
        grown, self._grown = self._grown, False
        return grown

    def take_live(self) -> list[LiveFrame]:
        """Give the deltas and the frames of runs that wait."""
        deltas = [delta for delta in self._deltas if not self._is_superseded(delta)]
        self._deltas.clear()
        self._characters = 0
        return [*deltas, *self._runs.take()]

    def answered(self, event_id: str, attempt: int | None) -> None:
        """Note that the response to an event goes to the reader now: its deltas are superseded.

        Parameters:
          event_id: The event.
          attempt: The attempt that came to the response; later ones are a replay's. None when it is not
            known: then no delta of the event comes any more.
        """
        self._answered.pop(event_id, None)
        self._answered[event_id] = math.inf if attempt is None else attempt
        if len(self._answered) > MAX_ANSWERED:
            del self._answered[next(iter(self._answered))]

    def over(self, task: str) -> None:
        """Note that the result of a task goes to the reader now: no frame of its run comes behind it."""
        self._runs.over(task)

    def _is_superseded(self, delta: Delta) -> bool:
        return delta.attempt <= self._answered.get(delta.event, -1)

    async def wait(self, seconds: float) -> bool:
        """Wait for news.

        Returns:
          False when there were none for so long.
        """
        if not (self._grown or self._deltas or self._runs):
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._news.wait()
        return self._news.is_set() or self._grown
