"""What worker processes saw: the number and the time of each delivery, in files that survive them."""

import itertools
import mmap
import struct
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

#: The number, plus one, and the moment on the machine's monotonic clock in ns: all processes share it.
_RECORD = struct.Struct("=qq")

#: Deliveries that a file has room for. It is sparse.
CAPACITY = 1_000_000

#: How often a reader looks again.
_LOOK_SECONDS = 0.0005

Sighting = tuple[int, int]


def make_room(path: Path) -> None:
    """Make the empty file of a worker process that is about to start."""
    with path.open("wb") as file:
        file.truncate(CAPACITY * _RECORD.size)


class Sightings:
    """Where the actors of one process note what they saw, from any thread, after what stands there."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        stand = sum(1 for _ in itertools.takewhile(any, _RECORD.iter_unpack(self._map)))
        self._next = itertools.count(stand).__next__  # atomic in CPython

    def note(self, number: int) -> None:
        """Note that the message with this number was delivered now."""
        _RECORD.pack_into(self._map, self._next() * _RECORD.size, number + 1, time.monotonic_ns())


class Reader:
    """Follows what all worker processes saw.

    Parameters:
      paths: Their files.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._maps: list[mmap.mmap] = []
        for path in paths:
            with path.open("rb") as file:
                self._maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        self._places = [0] * len(self._maps)

    def poll(self) -> Iterator[tuple[int, Sighting]]:
        """Give what is new: the place of the process in `paths`, the number, and when, in ns."""
        for process, seen in enumerate(self._maps):
            while self._places[process] < CAPACITY:
                number, at = _RECORD.unpack_from(seen, self._places[process] * _RECORD.size)
                if not (number and at):  # a record is written in two parts
                    break
                self._places[process] += 1
                yield process, (number - 1, at)

    def wait_for(self, number: int, seconds: float) -> int | None:
        """Wait until a message is delivered, and tell when, in ns; None when it was not in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for _, (seen, at) in self.poll():
                if seen == number:
                    return at
            time.sleep(_LOOK_SECONDS)
        return None

    def close(self) -> None:
        """Let go of the files."""
        for seen in self._maps:
            seen.close()
