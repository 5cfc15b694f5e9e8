"""Repositories on this machine, as far as they were needed here: each in a folder, and dispensable.

The processes of one machine share the folders. A folder is locked while it is used (flock on the folder
itself), so that what has not been used for long can be removed by whoever comes first.
"""

import asyncio
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from lightning.errors import Transient
from lightning.repositories.git import Folder
from lightning.repositories.process import Git

#: A repository that was not used for so long is fetched again when it is needed.
UNUSED_SECONDS: Final = 24 * 3600.0

#: Somebody else may fetch it meanwhile.
LOCK_SECONDS: Final = 300.0

_SUFFIX: Final = ".git"


class Cache:
    """The folders of repositories.

    Parameters:
      git: Runs git.
      root: The folder that they are in; made when it is needed.
    """

    def __init__(self, git: Git, root: Path) -> None:
        self._git = git
        self._root = root

    @asynccontextmanager
    async def held(self, repository: str, *, alone: bool) -> AsyncGenerator[Folder]:
        """Give the folder of a repository, which stays there for so long.

        Parameters:
          repository: Its id, one of ours.
          alone: Whether nobody else uses it meanwhile.

        Raises:
          Transient: Others do not let go of it.
        """
        path = self._root / f"{repository}{_SUFFIX}"
        handle = await self._locked(path, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        try:
            os.utime(handle)
            yield Folder(self._git, path)
        finally:
            os.close(handle)

    async def drop(self, repository: str) -> None:
        """Remove a folder, if there is one and nobody uses it."""
        await asyncio.to_thread(_remove, self._root / f"{repository}{_SUFFIX}")

    async def sweep(self) -> None:
        """Remove the folders that have not been used for long."""
        before = time.time() - UNUSED_SECONDS
        await asyncio.to_thread(_sweep, self._root, before)

    async def _locked(self, path: Path, kind: int) -> int:
        deadline, pause = time.monotonic() + LOCK_SECONDS, 0.001
        while True:
            if not _is_there(path):
                await self._make(path)
            handle = _try(path, kind)
            if handle is not None:
                return handle
            if time.monotonic() > deadline:
                raise Transient("another process holds the repository", code="repository_busy")
            await asyncio.sleep(pause)
            pause = min(pause * 2, 0.1)

    async def _make(self, path: Path) -> None:
        """Make an empty repository, complete or not at all."""
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self._root / f"new-{secrets.token_hex(8)}"
        await Folder(self._git, draft).make()
        draft.chmod(0o700)
        try:
            draft.rename(path)
        except OSError:  # somebody else was faster
            await asyncio.to_thread(shutil.rmtree, draft, ignore_errors=True)


def _is_there(path: Path) -> bool:
    return path.exists()


def _try(path: Path, kind: int) -> int | None:
    """Lock a folder, if it can be locked now and is still the one of that name."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with suppress(BlockingIOError, FileNotFoundError):
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    os.close(handle)
    return None


def _remove(path: Path) -> None:
    handle = _try(path, fcntl.LOCK_EX)
    if handle is None:
        return
    try:
        gone = path.with_name(f"new-{secrets.token_hex(8)}")
        path.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
    finally:
        os.close(handle)


def _sweep(root: Path, before: float) -> None:
    with suppress(FileNotFoundError):
        for path in root.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    _remove(path)
