"""Where processes come from that start at once: one that has loaded the platform, and copies itself for each.

To load it takes a process most of a second of processor time, and memory that copies share. Each copy is a
process of its own, a child of the supervisor, and runs what an interpreter would for the same command.
"""

import atexit
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn, Self

import structlog

from lightning.settings import take_on, without_settings
from lightning.shim.kernel import adopt_orphans, die_with_parent
from worker.supervisor import Process, Running, launch

#: A nursery that says nothing for so long hangs; on a busy machine, it may take its time to load.
ANSWER_SECONDS: Final = 120.0

#: Whoever waits for the end of a process looks so often.
LOOK_SECONDS: Final = 0.02

_ORDER_BYTES: Final = 1 << 20

#: What a process reads from and writes to comes with its order.
_STDOUT: Final = 1
_STDERR: Final = 2
_STREAMS: Final = 3

_log = structlog.get_logger(__name__)


class Nursery:
    """A process of one thread that forks others, for as long as whoever made it lives.

    One that is gone is missed by nobody: interpreters are started instead.

    Parameters:
      link: The other end is the nursery's.
      pid: Its process id.
    """

    def __init__(self, link: socket.socket, pid: int) -> None:
        self.pid = pid
        self._link = link
        self._lock = threading.Lock()
        self._end = weakref.finalize(self, _end, link, pid, os.getpid())
        link.settimeout(ANSWER_SECONDS)

    @classmethod
    def copied(cls, modules: Sequence[str]) -> Self:
        """Load modules, and make a copy of this process the nursery, which may have but one thread."""
        _load(modules)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()  # what is not written yet is not to be written twice
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            ours.close()
            _serve_and_end(theirs)
        theirs.close()
        return cls(ours, pid)

    @classmethod
    def launched(cls, modules: Sequence[str]) -> Self:
        """Start an interpreter that loads modules, and is the nursery."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, "-m", "worker.nursery", *modules]
            handles = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
            pid = os.posix_spawn(command[0], command, without_settings(), file_actions=handles)
        return cls(ours, pid)

    def start(self, process: Process) -> Running:
        """Start a process: a copy of the nursery where Python would run it, else from its command."""
        interpreter, *arguments = process.command
        if interpreter != sys.executable or process.output not in (None, subprocess.DEVNULL):
            return launch(process)
        order = json.dumps([arguments, dict(process.environment)]).encode()
        with Path(os.devnull).open("r+b") as null:
            outputs = [null.fileno() if process.output is not None else _STDOUT, _STDERR]
            pid = self._ask(order, [null.fileno(), *outputs])
        if pid is None:
            _log.warning("nursery_gone", process=process.name)
            return launch(process)
        return Forked(pid)

    def close(self) -> None:
        """End the nursery; what it forked goes on."""
        self._end()

    def _ask(self, order: bytes, streams: Sequence[int]) -> int | None:
        with self._lock, _adopting():
            try:
                socket.send_fds(self._link, [order], streams)
                said = self._link.recv(32)
            except TimeoutError:
                os.kill(self.pid, signal.SIGKILL)
                self.close()  # its answer to this would be taken for one to the next
                return None
            except OSError:
                return None
        return int(said) if said else None


class Forked:
    """A process that a nursery forked, with the face of `subprocess.Popen` that a supervisor uses.

    Parameters:
      pid: Its process id; it is a child of this process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._status: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Give the exit status, negative for a signal; None while it runs."""
        with self._lock:
            return self._look()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is over."""
        with self._lock:  # nobody waits for it meanwhile, after which its id may be another's
            if self._look() is None:
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Parameters:
          timeout: Seconds.

        Raises:
          subprocess.TimeoutExpired: It still runs.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (status := self.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise subprocess.TimeoutExpired("a forked process", timeout or 0.0)
            time.sleep(LOOK_SECONDS)
        return status

    def _look(self) -> int | None:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status


@contextmanager
def _adopting() -> Generator[None]:
    """Have what loses its parent become a child of this process; at other times, it is init's."""
    adopt_orphans(yes=True)
    try:
        yield
    finally:
        adopt_orphans(yes=False)


def _end(link: socket.socket, pid: int, owner: int) -> None:
    if os.getpid() == owner:  # not a copy of it
        with suppress(OSError):  # it has ended
            link.shutdown(socket.SHUT_RDWR)
        os.waitpid(pid, 0)
    link.close()


def _load(modules: Sequence[str]) -> None:
    gc.disable()  # all that is made now stays
    try:
        for module in modules:
            importlib.import_module(module)
    finally:
        gc.enable()


def _serve_and_end(link: socket.socket) -> NoReturn:
    try:
        _serve(link)
    except BaseException:  # noqa: BLE001 -- what a copied process was about is not this one's to go on with
        traceback.print_exc()
    os._exit(0)


def _serve(link: socket.socket) -> None:
    """Fork a process for each order at the socket, until the other end is closed."""
    parent = os.getppid()
    os.setsid()  # Ctrl-C is for whoever supervises
    _show([sys.executable, "-m", "worker.nursery"])
    gc.freeze()  # a look for garbage would write to all that was loaded, and so copy it for each process
    while True:
        order, streams, _, _ = socket.recv_fds(link, _ORDER_BYTES, _STREAMS)
        pid = _fork(link, order, streams, parent) if order else b""
        if not pid:
            return
        link.send(pid)
        for stream in streams:
            os.close(stream)


def _fork(link: socket.socket, order: bytes, streams: Sequence[int], parent: int) -> bytes:
    """Fork a process whose own parent ends at once, so that it is adopted, and give its id."""
    ours, theirs = socket.socketpair()
    with ours:
        between = os.fork()
        if between == 0:
            try:
                if os.fork() == 0:
                    ours.close()
                    link.close()
                    _live(order, streams, theirs, parent)
                os._exit(0)
            except BaseException:  # noqa: BLE001 -- the nursery's loop is not this process's to go on with
                traceback.print_exc()
                os._exit(1)
        theirs.close()
        os.waitpid(between, 0)
        pid = ours.recv(32)
        if pid:
            ours.send(b"+")
        return pid


def _live(order: bytes, streams: Sequence[int], adopted: socket.socket, parent: int) -> NoReturn:
    """Do what an interpreter does with ``-m MODULE`` or ``FILE``, and their arguments, to its end."""
    arguments, environment = json.loads(order)
    os.setsid()
    with adopted:
        adopted.send(str(os.getpid()).encode())
        adopted.recv(1)
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:  # it died before this could be noticed, or the nursery did
        os._exit(1)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    take_on(environment)
    _show([sys.executable, *arguments])
    status = _run(arguments)
    # what an interpreter does at its end, in this order; neither has a public name
    threading._shutdown()  # noqa: SLF001 # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it, or it is closed
            stream.flush()
    os._exit(status)


def _run(arguments: Sequence[str]) -> int:
    """Run a module or a file, and give the exit status."""
    try:
        if arguments[0] == "-m":
            module, sys.argv = arguments[1], list(arguments[1:])
            sys.modules.pop(module, None)  # it runs anew, under another name
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            sys.argv = list(arguments)
            runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        print(end.code, file=sys.stderr)  # noqa: T201 -- as sys.exit() says that it does
        return 1
    except BaseException:  # noqa: BLE001 -- any other ends a process, too
        traceback.print_exc()
        return 1
    return 0


def _show(command: Sequence[str]) -> None:
    """Have ps(1) show what this process runs, as far as there is room where the nursery's command stood."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # arg_start and arg_end of proc(5)
    shown = b"\0".join(os.fsencode(word) for word in command)[: end - start - 1]
    ctypes.memmove(start, shown.ljust(end - start, b"\0"), end - start)


if __name__ == "__main__":
    _load(sys.argv[1:])
    _serve_and_end(socket.socket(fileno=os.dup(0)))
