"""Runs the processes of an installation on one machine, and starts again what dies."""

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import structlog

#: The first restart waits so long; the wait doubles while the process keeps dying at once.
FIRST_BACKOFF_SECONDS = 0.2
MAX_BACKOFF_SECONDS = 15.0

_log = structlog.get_logger(__name__)


@dataclass
class Process:
    """One process to keep alive.

    Parameters:
      name: Its name in the log lines.
      command: What to run.
      environment: Its whole environment.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    running: subprocess.Popen[bytes] | None = field(default=None, init=False)
    started_at: float = field(default=0.0, init=False)
    restart_at: float = field(default=0.0, init=False)
    backoff_seconds: float = field(default=FIRST_BACKOFF_SECONDS, init=False)


class Supervisor:
    """Keeps processes alive until it is told to stop, then drains them.

    Parameters:
      processes: What to run, in the order to start; they are stopped together.
      drain_seconds: What does not stop by itself within this time is killed.
      steady_seconds: A process that lived so long has earned the first backoff again.
    """

    def __init__(
        self, processes: Sequence[Process], *, drain_seconds: float = 30.0, steady_seconds: float = 10.0
    ) -> None:
        self._processes = processes
        self._steady_seconds = steady_seconds
        self._drain_seconds = drain_seconds
        self._stop = threading.Event()
        self._changed = threading.Event()

    def stop(self) -> None:
        """Ask `run` to drain and return; may be called from a signal handler."""
        self._stop.set()
        self._changed.set()

    def run(self) -> None:
        """Start the processes, and stay until `stop`."""
        for process in self._processes:
            self._start(process)
        try:
            while not self._stop.is_set():
                for process in self._processes:
                    self._look_after(process)
                self._changed.wait(0.1)
        finally:
            self._drain()

    def _start(self, process: Process) -> None:
        # a group of its own: Ctrl-C in a terminal reaches us alone, and we drain the others
        process.running = subprocess.Popen(
            [*_with_parent(), *process.command],
            env=dict(process.environment),
            start_new_session=True,
            stdin=subprocess.DEVNULL,
        )
        process.started_at = time.monotonic()
        _log.debug("process_started", process=process.name, pid=process.running.pid)

    def _look_after(self, process: Process) -> None:
        now = time.monotonic()
        if process.running is None:
            if now >= process.restart_at:
                self._start(process)
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
        process.restart_at = now + process.backoff_seconds
        process.backoff_seconds = min(process.backoff_seconds * 2, MAX_BACKOFF_SECONDS)

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


def _with_parent() -> list[str]:
    """Give the prefix that ends a process when we die without a chance to stop it (PR_SET_PDEATHSIG)."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
