"""The directory that is a run's state: who holds it, that it began, its log and its end.

- ``run.json``: the tags, written when the run is created.
- ``lock``: held by the shim for as long as it lives; the kernel lets go when it dies, however it dies.
- ``began.json``: written before the command starts, once; whoever finds it never starts the run again.
- ``log``: the output.
- ``end.json``: how it ended; whoever writes it first has said it.

Each file but the log appears whole, by link(2), and is on the disk before anybody goes on.
"""

import contextlib
import errno
import fcntl
import json
import os
import struct
from typing import Any, Final

RUN: Final = "run.json"
LOCK: Final = "lock"
BEGAN: Final = "began.json"
LOG: Final = "log"
END: Final = "end.json"

#: struct flock of Linux on 64 bits: type, whence, start, length, process id.
_FLOCK: Final = "@hhqqi4x"


def write_once(folder: str, name: str, value: dict[str, Any]) -> bool:
    """Write a file that is not there yet, durably; tell whether this call was the first to do so."""
    draft = os.path.join(folder, f".{name}.{os.urandom(6).hex()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(handle, "wb") as file:
            file.write(json.dumps(value).encode())
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, os.path.join(folder, name))
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    sync(folder)
    return True


def read(folder: str, name: str) -> dict[str, Any] | None:
    """Read a file of the run, or None if it is not there."""
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def has_news(folder: str, since: int | None) -> bool:
    """Tell whether a run is over or gone, or its log is longer than so many bytes."""
    if not os.path.exists(folder) or os.path.exists(os.path.join(folder, END)):
        return True
    try:
        return since is not None and os.stat(os.path.join(folder, LOG)).st_size > since
    except FileNotFoundError:
        return False


def sync(folder: str) -> None:
    """Have the names in a directory on the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hold(folder: str) -> bool:
    """Take the lock for the rest of this process's life, if nobody has it.

    A lock of POSIX, because readers learn its holder's process id; nothing else in this process may open
    the file, as closing it anywhere lets go.
    """
    handle = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EAGAIN}:
            return False
        raise
    return True


def holder(folder: str) -> int | None:
    """Name the process that holds the lock: None is nobody, 0 or less somebody without a number here."""
    asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    try:
        handle = os.open(os.path.join(folder, LOCK), os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        kind, _, _, _, process = struct.unpack(_FLOCK, fcntl.fcntl(handle, fcntl.F_GETLK, asked))
    finally:
        os.close(handle)
    return None if kind == fcntl.F_UNLCK else process


def conclude(folder: str, value: dict[str, Any]) -> bool:
    """Write the end of a run that nobody holds; False means that somebody does, or that it is gone.

    The lock is one of the open file (Linux), so that other threads of this process cannot let it go.
    """
    wanted = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    with contextlib.suppress(FileNotFoundError):
        handle = os.open(os.path.join(folder, LOCK), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, wanted)
            write_once(folder, END, value)
            return True
        except BlockingIOError:
            return False
        finally:
            os.close(handle)
    return False
