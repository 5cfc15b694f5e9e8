"""Runs the processes of an installation on one machine, and starts again what dies."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

#: The first restart waits so long; the wait doubles while the process keeps dying at once. It stays short, as
#: what kills a worker may be one event, and all others wait meanwhile.
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 3.0

#: How often is looked who has died, and whether to stop.
LOOK_SECONDS = 0.1

_log = structlog.get_logger(__name__)


class NotStartedError(Exception):
    """What is to run cannot be started; the message says what to do."""


class Running(Protocol):
    """What a supervisor uses of `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None:
        """Give the exit status; None while it runs."""
        ...

    def send_signal(self, number: int, /) -> None:
        """Send a signal, unless it is over."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` when it takes longer."""
        ...


@dataclass
class Process:
    """One process to keep alive.

    Parameters:
      name: Its name in the log lines.
      command: What to run.
      environment: Its whole environment.
      output: Where its standard output goes, as `subprocess.Popen` takes it; None: where ours does.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    output: int | None = None
    running: Running | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    restart_at: float = field(default=0.0, init=False)
    backoff_seconds: float = field(default=FIRST_BACKOFF_SECONDS, init=False)


class Supervisor:
    """Keeps processes alive until it is told to stop, then drains them.

    Parameters:
      processes: What to run, in the order to start; they are stopped together.
      drain_seconds: What does not stop by itself within this time is killed.
      steady_seconds: A process that lived so long has earned the first backoff again.
      start: Starts one.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        *,
        drain_seconds: float = 30.0,
        steady_seconds: float = 10.0,
        start: "Callable[[Process], Running] | None" = None,
    ) -> None:
        self._start_one = start or launch
        self._processes = processes
        self._steady_seconds = steady_seconds
        self._drain_seconds = drain_seconds
        self.stopping = threading.Event()

    def stop(self) -> None:
        """Ask `run` to drain and return; may be called from a signal handler."""
        self.stopping.set()

    def run(self) -> None:
        """Start the processes, and stay until `stop`, which may have been asked already."""
        try:
            for process in () if self.stopping.is_set() else self._processes:
                self._start(process)
            while not self.stopping.is_set():
                for process in self._processes:
                    self._look_after(process)
                # a wait for the event would hold its lock, on which a signal handler's `stop` could hang
                time.sleep(LOOK_SECONDS)
        finally:
            self._drain()

    def _start(self, process: Process) -> None:
        process.running = self._start_one(process)
        process.started_at = time.monotonic()
        _log.debug("process_started", process=process.name, pid=process.running.pid)

    def _look_after(self, process: Process) -> None:
        now = time.monotonic()
        if process.running is None:
            if now >= process.restart_at:
                self._start_again(process, now)
            return
        status = process.running.poll()
        if status is None:
            return
        if now - process.started_at > self._steady_seconds:
            process.backoff_seconds = FIRST_BACKOFF_SECONDS
        _log.warning(
            "process_died", process=process.name, status=status, restart_in_seconds=process.backoff_seconds
        )
        process.running = None
        _put_off(process, now)

    def _start_again(self, process: Process, now: float) -> None:
        try:
            self._start(process)
        except (
            OSError,
            NotStartedError,
        ) as error:  # for want of memory, say: the others go on
            _log.warning(
                "process_not_started",
                process=process.name,
                error=str(error),
                restart_in_seconds=process.backoff_seconds,
            )
            _put_off(process, now)

    def _drain(self) -> None:
        running = [process.running for process in self._processes if process.running is not None]
        for child in running:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._drain_seconds
        for child in running:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.warning("process_killed", pid=child.pid)
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()


def _put_off(process: Process, now: float) -> None:
    process.restart_at = now + process.backoff_seconds
    process.backoff_seconds = min(process.backoff_seconds * 2, MAX_BACKOFF_SECONDS)


def launch(process: Process) -> Running:
    """Start a process from its command, in a session of its own.

    Ctrl-C in a terminal then reaches the supervisor alone, which drains the others.
    """
    return subprocess.Popen(
        [*_with_parent(), *process.command],
        env=dict(process.environment),
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=process.output,
    )


def _with_parent() -> list[str]:
    """Give the prefix that ends a process when we die without a chance to stop it (PR_SET_PDEATHSIG)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
