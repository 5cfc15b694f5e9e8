"""Where shims come from: a process that has imported what they need, and forks one for each order.

It ends with who started it, whose end of the socket closes then; shims do not, since each leaves its
session and is nobody's child.
"""

import contextlib
import gc
import os
import signal
import socket
import sys
import traceback
from typing import Final

from lightning.shim.main import main

#: With each request come a shim's standard input, output and error.
_HANDLES: Final = 3


def serve() -> None:
    """Fork a shim for each request at the socket on standard input, until the other end is closed."""
    requests = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a shim's first process
    gc.freeze()  # so that shims share these pages
    while True:
        said, handles, _, _ = socket.recv_fds(requests, 1, _HANDLES)
        if not said:
            return
        if not os.fork():
            _become_shim(requests, handles)
        for handle in handles:
            os.close(handle)


def _become_shim(requests: socket.socket, handles: list[int]) -> None:
    """Do what a shim does in a process of its own, and end."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, handle in enumerate(handles):
            os.dup2(handle, number)
            os.close(handle)
        requests.close()
        main()
    except BaseException:  # noqa: BLE001 -- the loop of the nursery is not this process's to go on with
        traceback.print_exc()
        with contextlib.suppress(OSError):
            sys.stderr.flush()
        os._exit(1)
    os._exit(0)
