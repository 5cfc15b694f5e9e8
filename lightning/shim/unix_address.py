"""Addresses of unix sockets whose paths are longer than an address holds."""

import contextlib
import os
from collections.abc import Generator
from typing import Final

#: What Linux takes, without the zero byte at the end (unix(7)).
MAX_BYTES: Final = 107


@contextlib.contextmanager
def unix_address(path: str) -> Generator[str]:
    """Give an address that names a path while the block lasts: the path itself, if it is short enough.

    Parameters:
      path: Of a socket that is there, or to be made; its directory exists.

    Raises:
      OSError: The directory cannot be opened.
    """
    if len(os.fsencode(path)) <= MAX_BYTES:
        yield path
        return
    folder, name = os.path.split(path)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{name}"
    finally:
        os.close(handle)
