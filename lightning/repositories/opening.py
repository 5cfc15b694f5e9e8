"""The repositories that a process works with: the store behind them, and the copies on its machine."""

from pathlib import Path

from lightning.repositories.cache import Cache
from lightning.repositories.head import CONTAINER, Heads, empty_head
from lightning.repositories.port import Limits, Repository
from lightning.repositories.process import Git
from lightning.repositories.remote import Remote
from lightning.repositories.stored import StoredRepository
from lightning.storage.port import Create, Storage


class RepositoryStore:
    """Opens repositories.

    Parameters:
      storage: Where they are kept.
      folder: Where copies of them may be, on this machine: dispensable, and shared by its processes.
      git: Runs git; by default that of this machine.
      limits: How they are kept.
    """

    def __init__(
        self, storage: Storage, folder: Path, git: Git | None = None, limits: Limits | None = None
    ) -> None:
        self._storage = storage
        self._cache = Cache(git or Git.installed(), folder)
        self._limits = limits or Limits()

    def open(self, user_id: str, repository: str, remote: Remote | None = None) -> Repository:
        """Open a repository; whether it is there is told by what is asked of it.

        Parameters:
          user_id: Whose it is.
          repository: Its id, one of ours.
          remote: Where it lives, if not here.
        """
        heads = self._heads(user_id, repository)
        return StoredRepository(heads, self._cache, repository, self._limits, remote)

    def creation(self, user_id: str, repository: str) -> Create:
        """Give the write, in the container of the repositories, that makes an empty one."""
        return Create(empty_head(user_id, repository))

    async def create(self, user_id: str, repository: str) -> Repository:
        """Make an empty repository.

        Raises:
          Conflict: There is one of this id.
        """
        await self._storage.batch(CONTAINER, user_id, [self.creation(user_id, repository)])
        return self.open(user_id, repository)

    async def delete(self, user_id: str, repository: str) -> None:
        """Remove a repository with all that is in it; as often as one likes."""
        await self._heads(user_id, repository).remove()
        await self._cache.drop(repository)
        await self._cache.sweep()

    def _heads(self, user_id: str, repository: str) -> Heads:
        return Heads(self._storage, user_id, repository, part_bytes=self._limits.part_bytes)
