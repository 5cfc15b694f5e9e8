"""System calls that Python 3.11 does not offer."""

import ctypes
import os
from typing import Any, Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
MS_NOSUID: Final = 0x2
MS_NODEV: Final = 0x4
MS_BIND: Final = 0x1000
MS_REC: Final = 0x4000
MS_PRIVATE: Final = 0x40000
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36

_libc: Final = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2))."""
    _check(_libc.unshare(flags))


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """Attach a file system, or part of one (mount(2))."""
    type_name = None if kind is None else kind.encode()
    _check(_libc.mount(source.encode(), target.encode(), type_name, ctypes.c_ulong(flags), options.encode()))


def die_with_parent(signal: int) -> None:
    """Have the kernel send a signal to this process when its parent dies (prctl(2))."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal, 0, 0, 0))


def adopt_orphans(*, yes: bool) -> None:
    """Say whether descendants of this process whose parent ends become its children (prctl(2))."""
    _check(_libc.prctl(_PR_SET_CHILD_SUBREAPER, int(yes), 0, 0, 0))


def _check(result: Any) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
