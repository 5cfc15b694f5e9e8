"""The command of a worker: asks `tests/guards/origin.py` for a copy, and waits for its end.

The copy has the standard files of this process, and is killed when this process is.

  begin.py ADDRESS [OPTIONS OF PYTHON]
"""

import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as origin:
        origin.connect(sys.argv[1])
        socket.send_fds(origin, [repr(sys.argv[2:]).encode()], [0, 1, 2])
        origin.recv(1)
