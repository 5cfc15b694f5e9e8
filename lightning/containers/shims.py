"""Starting shims: they are forked from one process that has imported what they need.

That is `lightning.shim.nursery`. An interpreter and its imports for each run would take longer than all else
that a start needs.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Final

import lightning

_BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from lightning.shim.nursery import serve; serve()"

_CHUNK_BYTES: Final = 64 * 1024


class Shims:
    """Starts shims; any thread may ask.

    Parameters:
      handed_over: Called when a shim has its order.
    """

    def __init__(self, handed_over: Callable[[], None]) -> None:
        self._handed_over = handed_over
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._end: weakref.finalize[..., Shims] | None = None

    def start(self, order: bytes, *, seconds: float) -> tuple[bytes, bytes]:
        """Start a shim, give it its order, and wait for its word.

        Parameters:
          order: The order.
          seconds: How long is waited.

        Returns:
          What it answers, which is nothing if it did not begin, and what it complains of.
        """
        inputs, outputs, errors = os.pipe(), os.pipe(), os.pipe()
        theirs = [inputs[0], outputs[1], errors[1]]
        try:
            self._ask(theirs)
        finally:
            for handle in theirs:
                os.close(handle)
        try:
            with contextlib.suppress(BrokenPipeError), os.fdopen(inputs[1], "wb", buffering=0) as pipe:
                _write_all(pipe.fileno(), order)
            self._handed_over()
            return _read_all(outputs[0], errors[0], time.monotonic() + seconds)
        finally:
            os.close(outputs[0])
            os.close(errors[0])

    def close(self) -> None:
        """Let the nursery go; shims go on."""
        with self._lock:
            self._let_go()

    def _ask(self, handles: list[int]) -> None:
        """Have a shim forked, by a new nursery if the one that was here is gone."""
        with self._lock:
            if self._socket is not None:
                try:
                    socket.send_fds(self._socket, [b"+"], handles)
                    return
                except OSError:
                    self._let_go()
            try:
                socket.send_fds(self._open(), [b"+"], handles)
            except OSError:  # it has ended already, so nobody has the pipes, and both are at their end
                self._let_go()

    def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _BOOT, str(Path(lightning.__file__).parents[1])],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
            )
        self._socket, self._end = ours, weakref.finalize(self, _end, ours, process)
        return ours

    def _let_go(self) -> None:
        if self._end is not None:
            self._end()
        self._socket = self._end = None


def _end(ours: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    """End a nursery, which its asker may forget to do."""
    ours.close()
    process.wait()


def _write_all(handle: int, data: bytes) -> None:
    while data:
        data = data[os.write(handle, data) :]


def _read_all(output: int, error: int, deadline: float) -> tuple[bytes, bytes]:
    """Read two pipes until both are closed or the time is up."""
    read = {output: b"", error: b""}
    with selectors.DefaultSelector() as selector:
        for handle in read:
            selector.register(handle, selectors.EVENT_READ)
        while selector.get_map() and (left := deadline - time.monotonic()) > 0:
            for key, _ in selector.select(left):
                if data := os.read(key.fd, _CHUNK_BYTES):
                    read[key.fd] += data
                else:
                    selector.unregister(key.fd)
    return read[output], read[error]
