"""What a run sees: the arguments of bubblewrap.

Everything stands in namespaces of its own, under a user who is nobody, with no capability and no way to
get one. The file system is made of what is bound here, read-only, and of sized memory for what it writes.
"""

import os
from typing import Final

from lightning.shim import seccomp, staging
from lightning.shim.order import Order
from lightning.shim.uplink import NAME_SERVER

WORKSPACE: Final = "/workspace"
_SCRATCH: Final = "/tmp"  # noqa: S108
_SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108

#: What the host's own system shows of itself when a run names no image.
_HOST_DIRECTORIES: Final = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32")
_HOST_SETTINGS: Final = (
    "alternatives", "ca-certificates", "crypto-policies", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "localtime", "mime.types", "pki/ca-trust", "pki/tls/certs", "ssl/certs", "ssl/openssl.cnf",
)  # fmt: skip

#: What the sandbox makes itself, whatever an image has there.
_OWN: Final = {"dev", "proc", "run", "sys", "tmp", "workspace"}

#: Bubblewrap's own process, which all of them could look into: it keeps the environment that it gave the
#: command, so what an agent hides from what it starts, such as its token, would stand there.
_HIDDEN: Final = ("--perms", "0555", "--tmpfs", "/proc/1", "--remount-ro", "/proc/1")

_NOBODY: Final = "65534"
_SHARED_MEMORY_BYTES: Final = 64 * 1024 * 1024

_PASSWD: Final = b"nobody:x:65534:65534:nobody:/workspace:/bin/sh\n"
_GROUP: Final = b"nogroup:x:65534:\n"
_HOSTS: Final = b"127.0.0.1 localhost\n::1 localhost\n"

_USUAL: Final = {
    "HOME": WORKSPACE,
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/bin:/usr/bin:/bin",
}


class Bubble:
    """Bubblewrap's arguments, and the files that must be open when it starts.

    Parameters:
      order: What to run.
      status: Descriptor that bubblewrap tells its progress to.
    """

    def __init__(self, order: Order, *, status: int) -> None:
        #: Descriptors that bubblewrap inherits.
        self.inherited: list[int] = [status]
        #: Directories of the host that it binds, in the order of their places.
        self.staged: list[str] = []
        self._stages = order.uid is not None
        self._order = order
        options = [
            *(
                "--unshare-all",
                "--unshare-user",
                "--share-net",
                "--disable-userns",
                "--die-with-parent",
                "--new-session",
            ),
            *("--cap-drop", "ALL", "--uid", _NOBODY, "--gid", _NOBODY, "--hostname", "run"),
            *("--json-status-fd", str(status)),
            *("--seccomp", self._memory(seccomp.program(os.uname().machine))),
            *self._system(),
            *self._writable(),
            *self._environment(),
            *("--remount-ro", "/"),
        ]
        arguments = self._memory(b"".join(word.encode() + b"\0" for word in options))
        #: bubblewrap's command line; what others may not see stands in the file that it names.
        self.command = ["bwrap", "--args", arguments, "--", *order.command]

    def _system(self) -> list[str]:
        """Bind the image, or the host's own system, and make the kernel's file systems."""
        root = self._order.root
        options = ["--proc", "/proc", *_HIDDEN, "--dev", "/dev", "--size", str(_SHARED_MEMORY_BYTES)]
        options += ["--perms", "1777", "--tmpfs", _SHARED_MEMORY, "--remount-ro", "/dev"]
        for name in _names(root):
            options += self._entry(root or "/", name)
        if root is None:
            for name in _HOST_SETTINGS:
                options += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
            for name, text in (("passwd", _PASSWD), ("group", _GROUP), ("hosts", _HOSTS)):
                options += ["--perms", "0444", "--file", self._memory(text), f"/etc/{name}"]
        if self._order.uplink:
            options += self._name_server()
        for source, target in self._order.mounts:
            options += self._bind(source, target)
        return options

    def _name_server(self) -> list[str]:
        """Say where names are asked for; an image without the file cannot be told."""
        settings = f"{self._order.root or ''}/etc/resolv.conf"
        if self._order.root is not None and (os.path.islink(settings) or not os.path.isfile(settings)):
            return []
        return ["--ro-bind-data", self._memory(f"nameserver {NAME_SERVER}\n".encode()), "/etc/resolv.conf"]

    def _entry(self, root: str, name: str) -> list[str]:
        """Show one entry of a root directory; a link is made anew, never followed on the host."""
        path = os.path.join(root, name)
        if os.path.islink(path):
            return ["--symlink", os.readlink(path), f"/{name}"]
        return self._bind(path, f"/{name}") if os.path.isdir(path) else []

    def _bind(self, source: str, target: str) -> list[str]:
        """Show a directory of the host, from where the run's user can walk to it."""
        self.staged.append(source)
        return ["--ro-bind", staging.path(len(self.staged) - 1) if self._stages else source, target]

    def _writable(self) -> list[str]:
        size = ["--size", str(self._order.disk_bytes)]
        options = [*size, "--perms", "1777", "--tmpfs", _SCRATCH]
        options += [*size, "--perms", "0700", "--tmpfs", WORKSPACE]
        for path, data in self._order.files.items():
            options += ["--perms", "0644", "--file", self._memory(data), f"{WORKSPACE}/{path}"]
        return [*options, "--chdir", WORKSPACE]

    def _environment(self) -> list[str]:
        options = ["--clearenv"]
        for name, value in {**_USUAL, **self._order.environment}.items():
            options += ["--setenv", name, value]
        return options

    def _memory(self, data: bytes) -> str:
        """Hold bytes in a file without a name, for bubblewrap to read."""
        handle = os.memfd_create("run")
        with open(os.dup(handle), "wb") as file:
            file.write(data)
        os.lseek(handle, 0, os.SEEK_SET)
        return self._inherit(handle)

    def _inherit(self, handle: int) -> str:
        self.inherited.append(handle)
        return str(handle)


def _names(root: str | None) -> list[str]:
    """List what is shown of a root directory."""
    return list(_HOST_DIRECTORIES) if root is None else sorted(set(os.listdir(root)) - _OWN)
