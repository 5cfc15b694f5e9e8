"""Watching one run: its output, its clock, its end."""

import contextlib
import json
import os
import selectors
import signal
import time
from typing import Final, NamedTuple

from lightning.shim import folder

_CHUNK_BYTES: Final = 64 * 1024

#: How long the output may go on after the run's last process was killed.
_DRAIN_SECONDS: Final = 5.0


class Ending(NamedTuple):
    """What the watch saw.

    Parameters:
      exit_code: What the command returned; None if it never began.
      cut: ``timeout`` or ``stopped`` if the watch ended it.
      last_words: The end of the output.
    """

    exit_code: int | None
    cut: str | None
    last_words: str


class Log:
    """The output on disk, bounded.

    Parameters:
      directory: The run's.
      most: Bytes that are kept.
    """

    def __init__(self, directory: str, most: int) -> None:
        path = os.path.join(directory, folder.LOG)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._left = most
        self._note = f"\n[the output beyond {most} bytes was dropped]\n".encode()
        self.tail = b""

    def write(self, data: bytes) -> None:
        """Keep what fits; say once that something did not."""
        kept = data[: self._left]
        self._left -= len(kept)
        if len(kept) < len(data):
            kept, self._note = kept + self._note, b""
        self.tail = (self.tail + kept)[-1000:]
        with contextlib.suppress(OSError):  # a full disk must not end a run that goes well
            os.write(self._file, kept)

    def close(self) -> None:
        """Have it on the disk."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)
        os.close(self._file)


class Watch:
    """The one loop of a shim.

    Parameters:
      process: Process id of the run's first process.
      log: Where output goes.
      output: Descriptor of its output.
      status: Descriptor of its progress.
      wakeups: Descriptor that becomes readable when this process is told to stop.
      wall_seconds: How long the run may take.
    """

    def __init__(
        self,
        process: int,
        *,
        log: Log,
        output: int,
        status: int,
        wakeups: int,
        wall_seconds: float,
    ) -> None:
        self.selector = selectors.DefaultSelector()
        self._process = process
        self._log = log
        self._output = output
        self._status = status
        self._said = b""
        self._exit_code: int | None = None
        self._cut: str | None = None
        self._deadline = time.monotonic() + wall_seconds
        self._ends = os.pidfd_open(process)
        self._over = False
        self.selector.register(self._ends, selectors.EVENT_READ, self._ended)
        self.selector.register(output, selectors.EVENT_READ, self._hear)
        self.selector.register(status, selectors.EVENT_READ, self._progress)
        self.selector.register(wakeups, selectors.EVENT_READ, self._stop)

    def run(self) -> Ending:
        """Watch until the last process of the run is gone and its output is read."""
        while not (self._over and self._output < 0):
            left = self._deadline - time.monotonic()
            if (
                left <= 0 and self._over
            ):  # something outside the run holds its output open: there is no such thing
                break
            if left <= 0:
                self._kill("timeout")
            for key, events in self.selector.select(max(left, 0.01)):
                key.data(events)
        self._progress(0)
        return Ending(self._exit_code, self._cut, self._log.tail.decode(errors="replace"))

    def _stop(self, _events: int) -> None:
        self._kill("stopped")

    def _kill(self, why: str) -> None:
        """Kill the run's first process; the kernel then kills all others in its namespace."""
        if self._cut is None and not self._over:
            self._cut = why
            self._deadline = time.monotonic() + _DRAIN_SECONDS
            signal.pidfd_send_signal(self._ends, signal.SIGKILL)

    def _ended(self, _events: int) -> None:
        self._over = True
        self._deadline = time.monotonic() + _DRAIN_SECONDS
        self.selector.unregister(self._ends)
        os.waitpid(self._process, 0)
        os.close(self._ends)

    def _hear(self, _events: int) -> None:
        data = os.read(self._output, _CHUNK_BYTES)
        if data:
            self._log.write(data)
        else:
            self.selector.unregister(self._output)
            os.close(self._output)
            self._output = -1

    def _progress(self, _events: int) -> None:
        """Read bubblewrap's status: JSON objects, one a line."""
        if self._status < 0:
            return
        data = os.read(self._status, _CHUNK_BYTES)
        if not data:
            self.selector.unregister(self._status)
            os.close(self._status)
            self._status = -1
        *lines, self._said = (self._said + data).split(b"\n")
        for line in lines:
            value: dict[str, int] = json.loads(line)
            if "exit-code" in value:
                self._exit_code = value["exit-code"]
