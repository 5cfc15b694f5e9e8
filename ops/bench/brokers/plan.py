"""What a process of a measurement is told, and the numbers of its messages."""

import itertools
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

#: What is done with a message: nothing, or one step of the platform.
Actor = Literal["noop", "step"]


@dataclass(frozen=True, slots=True)
class Plan:
    """One process that sends or works.

    Parameters:
      driver: Which one of `ops.bench.brokers.drivers`.
      url: Where the broker is: an address, a connection string, a file.
      log: The event log that steps work on.
      sightings: The file of this process; empty for one that only sends.
      watched: The files of all processes that work.
    """

    driver: str
    url: str
    log: str
    sightings: str
    watched: list[str]

    def watched_paths(self) -> list[Path]:
        """Give `watched` as paths."""
        return [Path(each) for each in self.watched]


class Quota:
    """Hands out the numbers of messages, each once, to any number of threads or tasks.

    Parameters:
      first: The first number.
      count: How many at most.
      seconds: None are handed out later than so long after the start.
    """

    def __init__(self, first: int, count: int, seconds: float) -> None:
        self._numbers = itertools.count(first)
        self._first = first
        self._end = first + count
        self._deadline = time.monotonic() + seconds

    def take(self) -> int | None:
        """Give the next number; None when it is enough."""
        if time.monotonic() > self._deadline:
            return None
        number = next(self._numbers)  # atomic in CPython
        return number if number < self._end else None

    def taken(self) -> int:
        """Count the numbers that were handed out, once nobody takes any more."""
        return min(next(self._numbers), self._end) - self._first
