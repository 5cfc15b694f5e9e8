"""Directories that the run's user could not walk to, set out where it can.

A run of root's shim belongs to a user who is nobody on the host, so bubblewrap, which is that user already,
sees an image in a private directory only if somebody with the right binds it elsewhere.
"""

import os
from typing import Final

from lightning.shim import kernel

#: It is on every system; what is over it here is seen by bubblewrap alone.
_PLACE: Final = "/tmp"  # noqa: S108


def path(at: int) -> str:
    """Say where a directory is set out, by its place in the list that `stage` gets."""
    return f"{_PLACE}/{at}"


def stage(sources: list[str]) -> None:
    """Set directories out, in a mount namespace that this process gets for it.

    Raises:
      OSError: A directory is not there, or is a link.
    """
    kernel.unshare(kernel.CLONE_NEWNS)
    kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_PRIVATE)
    # opened in this namespace, as it binds nothing of another, and before anything is over them
    handles = [os.open(source, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW) for source in sources]
    kernel.mount("tmpfs", _PLACE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755,size=1m")
    for at, handle in enumerate(handles):
        os.mkdir(path(at))
        kernel.mount(f"/proc/self/fd/{handle}", path(at), None, kernel.MS_BIND | kernel.MS_REC)
        os.close(handle)
