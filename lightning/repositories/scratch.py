"""Folders for what is under way, which whoever begins later removes where their process was killed."""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_PREFIX: Final = "lightning-git-"

#: A folder is there for a moment before it is locked.
_YOUNG_SECONDS: Final = 60.0


@contextmanager
def scratch(purpose: str) -> Generator[Path]:
    """Give an empty folder for as long as the block lasts, locked meanwhile (flock).

    Parameters:
      purpose: A word of its name.
    """
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{purpose}-") as place:
        handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield Path(place)
        finally:
            os.close(handle)


def clear() -> None:
    """Remove the folders of this user that nobody holds any more."""
    before = time.time() - _YOUNG_SECONDS
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        # others do the same, and anybody may put something of such a name there
        with suppress(OSError):
            found = path.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and found.st_mtime < before:
                _remove(path)


def _remove(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(handle)
