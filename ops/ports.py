"""Ports for servers that are told theirs before they start."""

import errno
import itertools
import os
import socket
from collections import deque

#: Below the ports that operating systems give to clients: none gets one by chance while a server is on its
#: way, or is started again. Above the ports of well-known services.
PORTS = range(20_000, 32_000)

#: Processes that look at the same time begin apart from one another.
_places = itertools.count(os.getpid() * 89)

#: What this process gave out last stays reserved: between the look and the server's start, other processes
#: look too. The server has begun, or never will, before so many others were asked for.
_reserved: deque[int] = deque()  # file descriptors
_MOST_RESERVED = 64


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that nobody uses now, and that no other process is given by this function for a while.

    Parameters:
      host: The address of this machine to listen at.

    Raises:
      OSError: There is no such address, or no port is free.
    """
    for _ in PORTS:
        port = PORTS[next(_places) % len(PORTS)]
        reservation = _reservation(port)
        if reservation is None:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                os.close(reservation)
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                _reserved.append(reservation)
                if len(_reserved) > _MOST_RESERVED:
                    os.close(_reserved.popleft())
                return port
    raise OSError(errno.EADDRINUSE, f"every port from {PORTS[0]} to {PORTS[-1]} is in use")


def _reservation(port: int) -> int | None:
    # an abstract name (unix(7)): seen by every process that could listen at the port, gone with its holders
    with socket.socket(socket.AF_UNIX) as reservation:
        try:
            reservation.bind(f"\0lightning-port-{port}")
        except OSError:
            return None
        return reservation.detach()
