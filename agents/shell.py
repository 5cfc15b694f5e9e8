"""Commands in bash, each in a process group of its own, bounded in time and in what is kept of its output.

What a run knows and its commands need not, above all the token of the run, is kept from them: a model may be
talked into anything by what it reads, and code that it fetches is nobody's it knows.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from agents.kept import Kept

#: What a command says after its end, as a process that it left behind may, is waited for so long.
_GRACE_SECONDS = 0.2

_CHUNK_BYTES = 64 * 1024

#: The platform's own variables, in which the run's token stands, and where the agents are.
_KEPT_BACK = ("LIGHTNING_", "OPENAI_", "OTEL_", "PYTHONPATH")

#: There is nobody who could turn a page, give a password or look at colors.
_UNATTENDED = {
    "DEBIAN_FRONTEND": "noninteractive",
    "GIT_PAGER": "cat",
    "GIT_TERMINAL_PROMPT": "0",
    "NO_COLOR": "1",
    "PAGER": "cat",
    "TERM": "dumb",
}

#: linux/prctl.h
_PR_SET_DUMPABLE = 4


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended.

    Parameters:
      exit_code: What bash returned, 128 and the signal where one ended it; None if it was ended for taking
        too long.
      output: What it printed, on both streams, as text.
      seconds: How long it took.
      left_open: Whether something that it started goes on and holds its output.
    """

    exit_code: int | None
    output: str
    seconds: float
    left_open: bool = False


class Shell:
    """Runs commands in a folder.

    Parameters:
      folder: Where each command starts.
      environment: The variables of the run, of which commands get those that are not the platform's.
      most_bytes: So much is kept of an output.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *, most_bytes: int) -> None:
        self._folder = folder
        self._environment = commands_environment(environment)
        self._most_bytes = most_bytes
        self._groups: list[int] = []

    def run(self, command: str, *, timeout_seconds: float, trace: str | None = None) -> Ran:
        """Run a command, and wait for its end.

        Parameters:
          command: What bash is told.
          timeout_seconds: After so long it is ended, with all that is in its process group.
          trace: The span that what it does hangs below, as ``TRACEPARENT``.

        Raises:
          OSError: It cannot be started.
        """
        begun = time.monotonic()
        traced = {} if trace is None else {"TRACEPARENT": trace}
        process = subprocess.Popen(
            ["bash", "-c", command],  # noqa: S607 -- wherever the image has it
            cwd=self._folder,
            env={**self._environment, **traced},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            start_new_session=True,
        )
        self._groups.append(process.pid)
        kept = Kept(self._most_bytes)
        try:
            listening = _Listening(process, kept)
            in_time = listening.until_end(begun + timeout_seconds)
            if not in_time:
                _kill(process.pid)
            code = process.wait()
            left_open = listening.until_silence()
        except BaseException:
            _kill(process.pid)
            process.wait()
            raise
        exit_code = (code if code >= 0 else 128 - code) if in_time else None
        return Ran(exit_code, kept.text(), time.monotonic() - begun, left_open)

    def close(self) -> None:
        """End what commands have left behind, so that nothing writes any more when the files are taken."""
        for group in self._groups:
            _kill(group)
        self._groups.clear()


class _Listening:
    """Hears what a command prints until it ends, however long what it started keeps its output open."""

    def __init__(self, process: subprocess.Popen[bytes], kept: Kept) -> None:
        self._output = cast("IO[bytes]", process.stdout)
        self._kept = kept
        self._is_open = True
        self._end = os.pidfd_open(process.pid)
        os.set_blocking(self._output.fileno(), False)

    def until_end(self, deadline: float) -> bool:
        """Listen until the command has ended; tell whether it did in time."""
        watch = select.poll()
        watch.register(self._end, select.POLLIN)
        watch.register(self._output, select.POLLIN)
        try:
            while (left := deadline - time.monotonic()) > 0:
                ready = [handle for handle, _ in watch.poll(left * 1000 + 1)]
                if self._output.fileno() in ready and not self._hear():
                    watch.unregister(self._output)
                if self._end in ready:
                    return True
            return False
        finally:
            os.close(self._end)

    def until_silence(self) -> bool:
        """Listen to what is still on its way, and tell whether somebody may go on printing."""
        watch = select.poll()
        watch.register(self._output, select.POLLIN)
        deadline = time.monotonic() + _GRACE_SECONDS
        while self._is_open and (left := deadline - time.monotonic()) > 0 and watch.poll(left * 1000 + 1):
            self._hear()
        if not self._is_open:
            self._output.close()
            return False
        # who prints to a closed pipe is ended by it: a server that was started for the next command
        threading.Thread(target=_drain, args=(self._output,), daemon=True).start()
        return True

    def _hear(self) -> bool:
        """Read a piece; tell whether there may be more."""
        data = os.read(self._output.fileno(), _CHUNK_BYTES)
        self._kept.add(data)
        self._is_open = bool(data)
        return self._is_open


def _drain(output: IO[bytes]) -> None:
    os.set_blocking(output.fileno(), True)
    with output:
        while os.read(output.fileno(), _CHUNK_BYTES):
            pass


def _kill(group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def commands_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that commands get: those of the run without the platform's."""
    token = environment.get("LIGHTNING_RUN_TOKEN")
    given = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(_KEPT_BACK) and (token is None or token not in value)
    }
    # a system without Python has this one, behind what it has itself
    path = [given.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    return {**given, **_UNATTENDED, "PATH": os.pathsep.join(path)}


def hide_memory() -> None:
    """Keep other processes of this user from looking into this one, at its variables above all (proc(5)).

    Raises:
      OSError: This system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
