"""A process of a measurement, as the bench that starts it sees it."""

import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

import orjson

from ops.bench.brokers.plan import Plan

_LAST_LINES = 3


class ChildFailed(Exception):
    """A process of a measurement ended, or gave no answer in time; the message has its last words."""


class Child:
    """A process that sends or works.

    Parameters:
      plan: What it is told.
      errors: The file that its standard error goes to.
      deadline: It is not waited for beyond this moment of the monotonic clock.
    """

    def __init__(self, plan: Plan, errors: Path, deadline: float) -> None:
        self._errors = errors
        self._deadline = deadline
        self._unread = b""
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ops.bench.brokers.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                bufsize=0,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self.tell(asdict(plan))

    def tell(self, what: dict[str, Any]) -> None:
        """Give a command; what it is to do stands in ``do``."""
        self._told = what.get("do", "start")
        try:
            _pipe(self._process.stdin).write(orjson.dumps(what) + b"\n")
        except BrokenPipeError:
            raise ChildFailed(self._last_words("ended")) from None

    def hear(self, within_seconds: float) -> dict[str, Any]:
        """Wait for the answer to a command.

        Raises:
          ChildFailed: There was none in time.
        """
        deadline = min(self._deadline, time.monotonic() + within_seconds)
        output = _pipe(self._process.stdout)
        while b"\n" not in self._unread:
            ready, _, _ = select.select([output], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise ChildFailed(self._last_words(f"did not {self._told} in time"))
            more = os.read(output.fileno(), 1 << 16)
            if not more:
                raise ChildFailed(self._last_words("ended"))
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return orjson.loads(line)

    def ask(self, what: dict[str, Any], within_seconds: float) -> dict[str, Any]:
        """Give a command and wait for its answer.

        Raises:
          ChildFailed: There was none in time.
        """
        self.tell(what)
        return self.hear(within_seconds)

    def end(self) -> None:
        """End the process and its forks at once: what it saw is in its file, the rest is thrown away."""
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()

    def _last_words(self, what: str) -> str:
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return f"a process {what}: " + (" | ".join(lines[-_LAST_LINES:]) or "it said nothing")


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe
