"""The namespaces of a shim: a network with nothing but its own loopback, and one door to the run API."""

import contextlib
import fcntl
import os
import socket
import struct
from typing import Final

from lightning.shim import kernel

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1
_BACKLOG: Final = 64

#: What to look at on a machine that does not let its users do this.
_HINT: Final = (
    "this user may make no namespaces; see the kernel's settings user.max_user_namespaces, "
    "kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
)


def leave() -> None:
    """Move this process into a network namespace of its own, with loopback up, and its children into theirs.

    An ordinary user needs a user namespace for that, in which it stays who it is. The first child is then the
    first process of a process namespace.

    Raises:
      OSError: The kernel or its policy does not let this user make namespaces.
    """
    try:
        _unshare(os.geteuid(), os.getegid())
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}: {_HINT}") from error
    _up("lo")


def _unshare(user: int, group: int) -> None:
    if user == 0:
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWPID)
    else:
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET | kernel.CLONE_NEWPID)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def listen(port: int) -> socket.socket:
    """Listen where a run finds its API, before anything else runs in this namespace."""
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    with contextlib.ExitStack() as stack:
        stack.callback(door.close)
        door.bind(("127.0.0.1", port))
        door.listen(_BACKLOG)
        door.settimeout(0)
        stack.pop_all()
    return door


def _up(interface: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh22x", interface.encode(), 0)
        flags = struct.unpack_from("16sh", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh22x", interface.encode(), flags | _IFF_UP))
