"""A history that comes from outside, kept apart until all of it has been looked at."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from lightning.errors import InvalidRequest
from lightning.repositories.bundle import read_header
from lightning.repositories.git import BRANCH, Folder
from lightning.repositories.paths import why_not
from lightning.repositories.port import NO_COMMIT
from lightning.repositories.process import GitFailed
from lightning.repositories.scratch import scratch

#: What has arrived is named so, until it counts.
ARRIVED: Final = "refs/heads/incoming"

#: What git says of an object that it refuses.
_REFUSED: Final = re.compile(r"error: object [0-9a-f]{40}: (\w+: .{1,200})")


@dataclass(frozen=True, slots=True)
class Incoming:
    """A bundle of somebody's.

    Parameters:
      bundle: Its bytes.
      ref: What of it is wanted.
      tip: The commit that it leads to.
    """

    bundle: bytes
    ref: str
    tip: str

    @classmethod
    def of_bundle(cls, bundle: bytes) -> "Incoming":
        """Read what a bundle holds.

        Raises:
          InvalidRequest: It is none that can be taken (``invalid_bundle``).
        """
        return cls(bundle, *read_header(bundle).chosen())

    @asynccontextmanager
    async def beside(self, folder: Folder, known: str) -> AsyncGenerator[Folder]:
        """Give a folder that holds it and all that is in another, for as long as the block lasts.

        Parameters:
          folder: The repository that it may go on from.
          known: The newest commit there.

        Raises:
          InvalidRequest: It is not whole, or holds what may not be in a repository (``invalid_bundle``).
        """
        async with quarantine(folder, known) as apart:
            path = apart.path / "main.bundle"
            path.write_bytes(self.bundle)
            pack = self.bundle.partition(b"\n\n")[2]
            try:
                await apart.take(path, self.ref, ARRIVED)
                # git 2.39 does not look into the objects of a bundle that it fetches
                await apart.git.run(apart.path, "index-pack", "--stdin", "--fix-thin", "--strict", stdin=pack)
            except GitFailed as error:
                raise _invalid(error) from error
            await check(apart, self.tip)
            yield apart


@asynccontextmanager
async def quarantine(folder: Folder, known: str) -> AsyncGenerator[Folder]:
    """Give a folder beside another: what is written goes there, what is read may be in either.

    Parameters:
      folder: The other.
      known: The newest commit there.
    """
    with scratch("incoming") as place:
        apart = Folder(folder.git, place / "incoming.git")
        await apart.make()
        alternates = apart.path / "objects" / "info" / "alternates"
        alternates.parent.mkdir(exist_ok=True)
        alternates.write_text(f"{folder.path.absolute() / 'objects'}\n")
        if known != NO_COMMIT:
            await apart.point(BRANCH, known)
        yield apart


async def check(folder: Folder, commit: str) -> None:
    """Check the paths of all files of a commit.

    Raises:
      InvalidRequest: One may not be (``invalid_path``), or there are too many files.
    """
    for entry in await folder.entries(commit):
        if (reason := why_not(entry.path)) is not None or "\ufffd" in entry.path:
            shown = ascii(entry.path[:200])
            raise InvalidRequest(
                f"the path {shown} cannot be: {reason or 'it is not UTF-8'}", code="invalid_path"
            )


def _invalid(error: GitFailed) -> InvalidRequest:
    refused = _REFUSED.search(error.said)
    reason = refused[1] if refused else "it is not whole, or asks for commits that are not here"
    return InvalidRequest(f"the bundle cannot be taken: {reason}", code="invalid_bundle")
