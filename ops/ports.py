"""Ports for servers that are told theirs before they start."""

import errno
import itertools
import os
import socket

#: Below the ports that operating systems give to clients: none gets one by chance while a server is on its
#: way, or is started again. Above the ports of well-known services.
PORTS = range(20_000, 32_000)

#: Processes that look at the same time begin apart from one another.
_places = itertools.count(os.getpid() * 89)


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port that nobody uses now; each call within a process gives another one.

    Parameters:
      host: The address of this machine to listen at.

    Raises:
      OSError: There is no such address, or no port is free.
    """
    for _ in PORTS:
        port = PORTS[next(_places) % len(PORTS)]
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port
    raise OSError(errno.EADDRINUSE, f"every port from {PORTS[0]} to {PORTS[-1]} is in use")
