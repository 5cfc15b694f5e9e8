"""What a run made of its files, as one commit on top of what others made of the repository meanwhile."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from lightning.errors import Conflict
from lightning.repositories.content import Commit
from lightning.repositories.git import Folder
from lightning.repositories.port import NO_COMMIT, MergeConflict
from lightning.repositories.workspace import exchanged_tree
from lightning.repositories.writing import check_base, commit_tree, put_on_top


@dataclass(frozen=True, slots=True)
class Exchange:
    """The files of a commit exchanged for those of a tar; see `Repository.exchange`.

    Parameters:
      tar: The tar.
      base: The commit.
      text: The whole message of the commit that is made.
      author: The name of who makes it.
      goes_on: Raises where it is not wanted any more.
    """

    tar: IO[bytes]
    base: str
    text: str
    author: str
    goes_on: Callable[[], Awaitable[None]]

    async def make(self, folder: Folder, tip: str) -> str | None:
        """Make the commit that follows the newest; None where nothing is to change."""
        await self.goes_on()
        await check_base(folder, self.base, tip)
        tree = await put_on_top(folder, self.base, await self._tree(folder), tip)
        return None if tree is None else await commit_tree(folder, tree, [tip], self.text, self.author)

    async def check_repeat(self, folder: Folder, made: Commit) -> None:
        """Check that a commit is what would be made where that one was made.

        Raises:
          Conflict: It is not (``already_committed``).
        """
        parent = made.parents[0] if made.parents else NO_COMMIT
        tree = await self._tree(folder)
        with suppress(MergeConflict):
            if await put_on_top(folder, self.base, tree, parent) == await folder.tree_of(made.id):
                return
        message = f"the run has committed other files before, as {made.id}; a run makes one commit"
        raise Conflict(message, code="already_committed")

    async def _tree(self, folder: Folder) -> str:
        return await exchanged_tree(folder, self.base, self.tar)
