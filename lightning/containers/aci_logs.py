"""Byte offsets over logs of which Azure Container Instances give the end only.

A running container's log is given from its last 4 MB, a stopped one's from its last 16 KB or 1,000 lines.
Where the beginning is cut, what was read last is found again in it.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from lightning.containers.port import LogPortion

#: The least that is given of a log that is cut: a few bytes less where a character was.
_CUT_BYTES: Final = 16 * 1024 - 8
_CUT_LINES: Final = 1_000

#: As much of what was read last is kept, of so many runs.
TAIL_BYTES: Final = 4096

#: Fewer bytes that begin a log as they ended what was read may do so by chance.
LEAST_OVERLAP_BYTES: Final = 32
KEPT_RUNS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where reading ended: the offset, and the bytes before it."""

    next: int
    tail: bytes


class LogWindows:
    """Remembers where the reading of each run's log ended, in this process.

    Another process that goes on reading a log that was cut meanwhile may read some of it again.
    """

    def __init__(self) -> None:
        self._marks: OrderedDict[str, _Mark] = OrderedDict()

    def portion(self, name: str, content: bytes, since: int, limit: int) -> LogPortion:
        """Give the bytes from an offset on, of a log of which this is the end."""
        begin, offset = self._place(name, content, since)
        data = content[begin : begin + limit]
        end = begin + len(data)
        if data:
            self._marks[name] = _Mark(offset + len(data), content[max(0, end - TAIL_BYTES) : end])
            self._marks.move_to_end(name)
            if len(self._marks) > KEPT_RUNS:
                self._marks.popitem(last=False)
        return LogPortion(data, since=offset, next=offset + len(data))

    def forget(self, name: str) -> None:
        """Let go of a run that is removed."""
        self._marks.pop(name, None)

    def _place(self, name: str, content: bytes, since: int) -> tuple[int, int]:
        """Find an offset: its index in the content, and the offset that is really there."""
        mark = self._marks.get(name)
        known = mark if mark is not None and mark.next == since else None
        if known is not None and content[:since].endswith(known.tail):
            return since, since
        if known is not None and (index := _after(known.tail, content)):
            return index, since
        if not _is_cut(content) or (known is None and since <= len(content)):
            return min(since, len(content)), since
        # what lies between was lost; how much, nobody knows
        return 0, since + 1 if known is not None else since


def _after(tail: bytes, content: bytes) -> int:
    """Find where a log goes on behind what was read last, of which the beginning may be cut; 0: nowhere."""
    if (index := content.rfind(tail)) >= 0:
        return index + len(tail)
    overlaps = range(len(tail) - 1, LEAST_OVERLAP_BYTES - 1, -1)
    return next((size for size in overlaps if content.startswith(tail[-size:])), 0)


def _is_cut(content: bytes) -> bool:
    return len(content) >= _CUT_BYTES or content.count(b"\n") >= _CUT_LINES
