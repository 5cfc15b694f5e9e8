"""Moments for those who must come again: one behind the other, so that they never come all at once."""

import random
from collections.abc import Callable
from typing import Final

#: Two that come one behind the other are this part of the usual distance apart, and that much more at random.
LEAST_DISTANCE: Final = 0.5


class Line:
    """Gives everybody who asks a moment of their own, so that however many wait, few come in a second.

    Each process has its own line, in memory: what it forgets is asked for again.

    Parameters:
      seconds_apart: How far apart two moments are, on average.
      most_seconds: Nobody is asked to wait longer.
      randomness: Gives numbers from 0 to 1, which spread the lines of many processes.
    """

    def __init__(
        self, seconds_apart: float, most_seconds: float, *, randomness: Callable[[], float] = random.random
    ) -> None:
        self._seconds_apart = seconds_apart
        self._most_seconds = most_seconds
        self._randomness = randomness
        self.last = 0.0  #: the last moment given

    def wait(self, now: float, least_seconds: float = 0.0, *, lines: int = 1) -> float:
        """Give the seconds to wait, a place behind the last one.

        Parameters:
          now: The present moment, by any one clock.
          least_seconds: Not before these have passed, though they be more than the most.
          lines: So many lines share the moments of one: theirs are so many times as far apart.
        """
        begin = max(self.last, now + least_seconds)
        distance = lines * self._seconds_apart * (LEAST_DISTANCE + self._randomness())
        self.last = min(begin + distance, now + max(least_seconds, self._most_seconds))
        return self.last - now


class Lines:
    """A line for each of many, so that how many wait in one makes nobody in another wait longer.

    Parameters:
      seconds_apart: How far apart two moments of a line are, on average.
      most_seconds: Nobody is asked to wait longer.
      most_lines: So many are kept apart; beyond, those that are shortest are forgotten.
      shared: The moments of all lines together are so far apart, rather than those of each.
      randomness: Gives numbers from 0 to 1, which spread the lines of many processes.
    """

    def __init__(
        self,
        seconds_apart: float,
        most_seconds: float,
        *,
        most_lines: int,
        shared: bool = False,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._seconds_apart = seconds_apart
        self._most_seconds = most_seconds
        self._most_lines = most_lines
        self._shared = shared
        self._randomness = randomness
        self._lines: dict[str, Line] = {}

    def wait(self, name: str, now: float, least_seconds: float = 0.0) -> float:
        """Give the seconds to wait in one of the lines; see `Line.wait`."""
        line = self._line(name)
        others = (each for each in self._lines.values() if each is not line and each.last > now)
        return line.wait(now, least_seconds, lines=1 + sum(1 for _ in others) if self._shared else 1)

    def __len__(self) -> int:
        return len(self._lines)

    def __contains__(self, name: object) -> bool:
        return name in self._lines

    def _line(self, name: str) -> Line:
        if name not in self._lines and len(self._lines) >= self._most_lines:
            del self._lines[min(self._lines, key=lambda each: self._lines[each].last)]
        return self._lines.setdefault(
            name, Line(self._seconds_apart, self._most_seconds, randomness=self._randomness)
        )
