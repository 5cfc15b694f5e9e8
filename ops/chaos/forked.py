"""Processes that begin as copies of one that has loaded the platform, which saves most of a start.

A storm starts hundreds of processes, which would spend most of their time loading the same modules. Each is a
process of its own still, with the environment, the session and the signals that it would have otherwise.
"""

import gc
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess

from lightning.settings import take_on
from worker.supervisor import Process, Running, launch

#: What is loaded before anything is copied. None of it starts a thread.
LOADED = [
    "api.main",
    "worker.main",
    "worker.clock",
    "brokers.servicebus",
    "lightning.client",
    "lightning.llm.openai",
    "lightning.storage.cosmos",
    "ops.emulators.cosmos.server",
    "ops.emulators.openai.server",
    "ops.emulators.servicebus.server",
    "typer.main",
]

_forkserver = multiprocessing.get_context("forkserver")


class ForkedProcess:
    """A process that was copied, with the face of `subprocess.Popen` that a supervisor uses."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process
        process.start()
        self.pid = process.pid or 0

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it died since
                os.kill(self.pid, number)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Parameters:
          timeout: Seconds.

        Raises:
          subprocess.TimeoutExpired: It still runs.
        """
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
        return status


def fork(process: Process) -> Running:
    """Start a process of an installation: a copy where Python would run it, else from its command."""
    interpreter, *arguments = process.command
    if interpreter != sys.executable:
        return launch(process)
    _forkserver.set_forkserver_preload(LOADED)
    copied = _forkserver.Process(
        target=_run, args=(arguments, dict(process.environment), process.output), daemon=True
    )
    return ForkedProcess(copied)


def _run(arguments: Sequence[str], environment: Mapping[str, str], output: int | None) -> None:
    """Do what an interpreter does with ``-m MODULE`` or ``FILE``, and their arguments."""
    gc.freeze()  # a look for garbage would write to all that was loaded, and so copy it for this process
    os.setsid()
    _end_with_parent()
    if output == subprocess.DEVNULL:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    take_on(environment)
    if arguments[0] == "-m":
        module, sys.argv = arguments[1], list(arguments[1:])
        sys.modules.pop(module, None)  # it runs anew, under another name
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(arguments)
        runpy.run_path(arguments[0], run_name="__main__")


def _end_with_parent() -> None:
    """Have this process told to stop when whoever started it dies, as where a run of tests is broken off.

    Its parent for the system is the process that it was copied from, which lives as long as any copy.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        raise RuntimeError("this process was not forked from another")
    # signals are the main thread's, which may wait for some that it blocks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    threading.Thread(target=_stop_behind, args=(parent.sentinel,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop_behind(sentinel: int) -> None:
    wait([sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
