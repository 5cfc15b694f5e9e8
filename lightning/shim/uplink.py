"""The internet for a run that may have it: slirp4netns, a network stack of an ordinary process.

The run's packets become connections of that process, so the run shares no network namespace with the host.
What must not be reached through it has no route: the host's loopback (slirp4netns refuses it), the host's
other addresses, and those of cloud metadata, which would hand out the machine's identity.
"""

import contextlib
import fcntl
import os
import re
import socket
import struct
from collections.abc import Iterator
from typing import Final

_DEVICE: Final = "tap0"

#: Where slirp4netns answers for the host's name servers.
NAME_SERVER: Final = "10.0.2.3"

#: Link-local addresses, among them 169.254.169.254, and Azure's host (learn.microsoft.com, "What is IP
#: address 168.63.129.16?").
_CLOUD: Final = ("169.254.0.0/16", "168.63.129.16/32")

_LOCAL: Final = re.compile(r"\|-- (\S+)\n\s+/32 host LOCAL")

_SIOCADDRT: Final = 0x890B
_RTF_UP: Final = 0x1
_RTF_REJECT: Final = 0x200

#: struct rtentry on 64 bits: destination, mask, flags.
_RTENTRY: Final = "8x16s16x16sH62x"


class Uplink:
    """Slirp4netns, started where the host's network is, for the namespace that this process goes to.

    Parameters:
      program: Path of slirp4netns.
    """

    def __init__(self, program: str) -> None:
        self._forbidden = [*_CLOUD, *_addresses()]
        self._go, go = os.pipe()
        ready, self._ready = os.pipe()
        self._exit, exit_end = os.pipe()
        self._child = os.fork()
        if self._child:
            for handle in (self._go, self._ready, self._exit):
                os.close(handle)
            self._go, self._ready, self._exit = go, ready, exit_end
            return
        try:
            for handle in (go, ready, exit_end):
                os.close(handle)
            if os.read(self._go, 1):
                self._become(program)
        finally:
            os._exit(126)

    def connect(self) -> None:
        """Give this process's new network namespace its way out.

        Raises:
          OSError: Slirp4netns did not start.
        """
        os.write(self._go, b"\n")
        if not os.read(self._ready, 1):
            raise OSError("slirp4netns did not start; this user may need the right to /dev/net/tun")
        for network in self._forbidden:
            _reject(network)

    def close(self) -> None:
        """End it, and wait until it has ended."""
        for handle in (self._go, self._ready, self._exit):
            os.close(handle)
        os.waitpid(self._child, 0)

    def _become(self, program: str) -> None:
        shim = f"/proc/{os.getppid()}/ns"
        options = ["--configure", "--mtu=65520", "--disable-host-loopback", "--enable-sandbox"]
        options += ["--enable-seccomp", f"--ready-fd={self._ready}", f"--exit-fd={self._exit}"]
        options += ["--netns-type=path"]
        if os.geteuid() != 0:
            options += [f"--userns-path={shim}/user"]
        for handle in (self._ready, self._exit):
            os.set_inheritable(handle, True)  # noqa: FBT003
        null = os.open(os.devnull, os.O_RDWR)
        for handle in (0, 1, 2):
            os.dup2(null, handle)
        os.execve(program, [program, *options, f"{shim}/net", _DEVICE], {})  # noqa: S606


def _addresses() -> Iterator[str]:
    """List the host's own addresses, as the kernel's table of routes has them."""
    with contextlib.suppress(FileNotFoundError), open("/proc/self/net/fib_trie") as file:
        for address in {*_LOCAL.findall(file.read())}:
            if not address.startswith("127."):
                yield f"{address}/32"


def _reject(network: str) -> None:
    address, _, bits = network.partition("/")
    mask = socket.inet_ntoa(struct.pack("!I", 0xFFFFFFFF << 32 - int(bits) & 0xFFFFFFFF))
    route = struct.pack(_RTENTRY, _sockaddr(address), _sockaddr(mask), _RTF_UP | _RTF_REJECT)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCADDRT, route)


def _sockaddr(address: str) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
