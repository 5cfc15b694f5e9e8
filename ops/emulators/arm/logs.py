"""A container's log as the service gives it.

Sources: "Containers - List Logs" (tail, timestamps, 4 MB), "Resource availability & quota limits for ACI"
(16 KB or 1,000 lines once it is stopped).
"""

from bisect import bisect_right
from typing import Final

from ops.emulators.arm.events import moment

RUNNING_BYTES: Final = 4 * 1024 * 1024
STOPPED_BYTES: Final = 16 * 1024
STOPPED_LINES: Final = 1_000


class Log:
    """What a container has written, and when it was seen."""

    def __init__(self) -> None:
        self.next = 0
        self._bytes = bytearray()
        self._offsets: list[int] = []
        self._times: list[float] = []

    def add(self, data: bytes, at: float) -> None:
        """Note what was written by a time in seconds since 1970."""
        self._offsets.append(self.next)
        self._times.append(at)
        self.next += len(data)
        self._bytes += data
        if len(self._bytes) > 2 * RUNNING_BYTES:
            del self._bytes[:-RUNNING_BYTES]

    def excerpt(self, *, stopped: bool, tail: int | None, kept_lines: int | None, timestamps: bool) -> str:
        """Give its end.

        Parameters:
          stopped: Whether the container has ended.
          tail: The most lines that are asked for.
          kept_lines: The most lines that a fault leaves.
          timestamps: Whether each line begins with the time when it was seen.
        """
        kept = bytes(self._bytes[-(STOPPED_BYTES if stopped else RUNNING_BYTES) :])
        lines = kept.splitlines(keepends=True)
        most = [n for n in (tail, kept_lines, STOPPED_LINES if stopped else None) if n is not None]
        lines = lines[max(0, len(lines) - min(most, default=len(lines))) :]
        if timestamps:
            lines = self._dated(lines)
        return b"".join(lines).decode(errors="replace")

    def _dated(self, lines: list[bytes]) -> list[bytes]:
        dated: list[bytes] = []
        offset = self.next - sum(map(len, lines))
        for line in lines:
            at = self._times[bisect_right(self._offsets, offset) - 1]
            dated.append(f"{moment(at)} ".encode() + line)
            offset += len(line)
        return dated
