"""A real store on a file, and one whose process dies between two writes."""

from collections.abc import Iterator

import pytest

from lightning.storage import Storage
from tests.stores import storage_of


class Died(BaseException):
    """The process is gone; nothing of ours may catch it."""


class Mortal:
    """A store whose process dies when it comes to a write, with that write not done.

    Parameters:
      storage: The real store.
      at: Which write it dies at, from 1 on.
    """

    def __init__(self, storage: Storage, at: int) -> None:
        self._storage = storage
        self._left = at

    async def batch(self, *arguments):
        self._count()
        return await self._storage.batch(*arguments)

    async def batch_on(self, *arguments):
        self._count()
        return await self._storage.batch_on(*arguments)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            raise Died

    def __getattr__(self, name):
        return getattr(self._storage, name)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def storage(tmp_path) -> Iterator[Storage]:
    storage = storage_of(tmp_path)
    yield storage
    await storage.close()


@pytest.fixture
async def beside(tmp_path, storage) -> Iterator[Storage]:
    """The same file, as another process has it open."""
    del storage
    beside = storage_of(tmp_path)
    yield beside
    await beside.close()
