"""The process that workers of pytest-xdist are copies of: collects the tests, then is copied when asked.

  origin.py LISTENER [ARGUMENTS OF PYTEST]

LISTENER is the number of an open socket, where workers are asked for. Without arguments, it collects nothing.
Its standard input ends when nobody needs it any more.
"""

import ast
import gc
import os
import selectors
import signal
import socket
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

#: It collects in one process, whatever the arguments say, and tells nobody what.
_QUIETLY = ["-n0", "--collect-only", "-qq", "--no-header", "--no-summary", "-p", "no:cacheprovider"]

#: Bytes of the options of Python that a worker is asked for with.
_LONGEST = 65536


def serve(listener: socket.socket) -> list[str] | None:
    """Copy this process for each who asks, until standard input ends.

    Returns:
      In a copy, the options that Python would be started with; None in the process itself.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        selector.register(listener, selectors.EVENT_READ)
        while True:
            key, _ = selector.select()[0]  # one at a time: what it is may be gone after another
            if key.fd == 0:
                return None
            if key.data is not None:  # either the copy has ended or whoever asked for it has
                _end(selector, *key.data)
            elif (options := _copied(selector, listener)) is not None:
                return options


def _copied(selector: selectors.BaseSelector, listener: socket.socket) -> list[str] | None:
    connection, _ = listener.accept()
    options, files, *_ = socket.recv_fds(connection, _LONGEST, 3)
    asking = connection.detach()
    pid = os.fork()
    if pid == 0:
        # those of other copies are closed too, or who asked for them would not see their end
        for each in (asking, *(fd for fd, key in selector.get_map().items() if key.data is not None)):
            os.close(each)
        for standard, file in enumerate(files):
            os.dup2(file, standard)
            os.close(file)
        return ast.literal_eval(options.decode())
    for file in files:
        os.close(file)
    pidfd = os.pidfd_open(pid)
    for each in (asking, pidfd):
        selector.register(each, selectors.EVENT_READ, (pid, pidfd, asking))
    return None


def _end(selector: selectors.BaseSelector, pid: int, pidfd: int, asking: int) -> None:
    """See a copy off, and let whoever asked for it know."""
    os.kill(pid, signal.SIGKILL)  # no harm is done where it has ended: its number is still its own
    os.waitpid(pid, 0)
    for each in (asking, pidfd):
        selector.unregister(each)
        os.close(each)


def become(options: list[str]) -> None:
    """Do what Python does with ``-c COMMAND`` at the end of its options."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w"), (2, "w"))
    )
    sys.stdout.reconfigure(write_through=True)
    sys.stderr.reconfigure(line_buffering=True)
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    sys.argv = ["-c"]
    # as what is started from here knows it: what has no file is not loaded again by others
    main = sys.modules["__main__"] = ModuleType("__main__")
    exec(compile(options[-1], "<string>", "exec"), main.__dict__)


def collect(arguments: list[str]) -> bool:
    """Load tests, and tell whether that went well."""
    output = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    status = pytest.main([*arguments, *_QUIETLY])
    os.dup2(output, 1)
    os.close(output)
    return status in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def begin(listener: int, *arguments: str) -> list[str] | None:
    """Collect, then `serve`."""
    if arguments and not collect([*arguments]):
        # what is wrong, the workers will say; what was loaded by half would have them find less of it
        os.set_inheritable(listener, True)
        os.execv(sys.executable, [sys.executable, "-P", __file__, str(listener)])
    if threading.active_count() > 1:
        raise RuntimeError(f"tests start threads as they are loaded: {threading.enumerate()}")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    # a look for garbage would write to all that was loaded, and so copy it for each worker
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=listener) as asked:
        return serve(asked)


if __name__ == "__main__":
    command = begin(int(sys.argv[1]), *sys.argv[2:])
    if command is not None:
        become(command)
