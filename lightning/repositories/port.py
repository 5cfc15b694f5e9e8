"""The repository port: one git repository of a user's, read and changed without a working tree.

A repository has one branch, ``main``. What is read is named by a commit; whoever changes it says which commit
they saw, and what others changed since is merged or reported, never overwritten.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import IO, Final, Protocol

from lightning.errors import Conflict, LightningError
from lightning.repositories.content import (
    Archive,
    Cause,
    Change,
    Committed,
    Diff,
    File,
    Found,
    History,
    Listing,
)

#: The commit that an empty repository has, as git names none.
NO_COMMIT: Final = "0" * 40

#: Bytes of a file that is read or written.
MAX_FILE_BYTES: Final = 8 * 1024 * 1024

#: Files of a repository.
MAX_FILES: Final = 20_000

#: Bytes of the files of an archive.
MAX_ARCHIVE_BYTES: Final = 128 * 1024 * 1024

#: Bytes of a repository with its history, as git packs it.
MAX_REPOSITORY_BYTES: Final = 64 * 1024 * 1024

#: Characters of the message of a commit.
MAX_MESSAGE_CHARS: Final = 16 * 1024


class GitMissing(LightningError):
    """Git is not installed here."""

    code = "git_missing"
    status = 503


class GitFailed(LightningError):
    """Git did not do what it was asked to; ``said`` is what it said, which may tell of this machine."""

    code = "git_failed"
    status = 500
    said = ""


class MergeConflict(Conflict):
    """Somebody else changed the same lines since.

    Parameters:
      paths: The files that both changed.
    """

    code = "merge_conflict"

    def __init__(self, paths: Sequence[str]) -> None:
        named = ", ".join(paths[:10]) + (" and others" if len(paths) > 10 else "")
        super().__init__(f"others changed {named} meanwhile; read them anew and make the change again")
        self.paths = list(paths)


@dataclass(frozen=True, slots=True)
class Limits:
    """How repositories are kept.

    Parameters:
      repository_bytes: Bytes of a repository with its history, as git packs it.
      part_bytes: Bytes in one document: so few that a throttled account takes one after another.
      bundles: So many are put together to one, which keeps the first fetch short.
    """

    repository_bytes: int = MAX_REPOSITORY_BYTES
    part_bytes: int = 192 * 1024
    bundles: int = 32


class Repository(Protocol):
    """One repository. Whatever it raises besides is `Transient` where the store does not answer.

    ``at`` is a commit of its history, in 40 hexadecimal digits; None is the newest. Every method raises
    `NotFound` where the repository or ``at`` is not there, and `GitMissing` where git is not installed.
    """

    async def tip(self) -> str:
        """Give the newest commit; `NO_COMMIT` in an empty repository."""
        ...

    async def refresh(self) -> str:
        """Take over what is new where the repository lives, if that is not here; give the newest commit.

        Raises:
          RemoteRefused: The server there does not let us.
          Transient: It does not answer (``remote_unreachable``).
          InvalidRequest: It holds what may not be in a repository, or too much.
        """
        ...

    async def files(
        self, *, at: str | None = None, prefix: str = "", after: str = "", limit: int = 1000
    ) -> Listing:
        """List files in the order of their paths, by their bytes.

        Parameters:
          at: The commit.
          prefix: Only paths that begin so.
          after: Only paths behind this one.
          limit: At most so many.
        """
        ...

    async def read(self, path: str, *, at: str | None = None) -> File:
        """Read a file.

        Raises:
          NotFound: There is none (``no_such_file``).
          InvalidRequest: The path is none (``invalid_path``), or the file is too large (``file_too_large``).
        """
        ...

    async def search(
        self, pattern: str, *, at: str | None = None, regex: bool = False, ignore_case: bool = False
    ) -> Found:
        """Look for lines of text files.

        Parameters:
          pattern: What to look for.
          at: The commit.
          regex: The pattern is a POSIX extended regular expression, else plain text.
          ignore_case: Small and capital letters are the same.

        Raises:
          InvalidRequest: The pattern cannot be read (``invalid_pattern``), or takes too long
            (``search_too_long``).
        """
        ...

    async def log(
        self, *, at: str | None = None, path: str | None = None, skip: int = 0, limit: int = 50
    ) -> History:
        """Tell the history, newest first.

        Parameters:
          at: The commit to begin with.
          path: Only what changed this file, or files in this folder.
          skip: Leave out so many.
          limit: At most so many.
        """
        ...

    async def diff(self, *, at: str | None = None, base: str | None = None) -> Diff:
        """Tell what two commits differ in.

        Parameters:
          at: The commit.
          base: The one before; the first parent by default.

        Raises:
          InvalidRequest: One of them has too many files (``too_many_files``).
        """
        ...

    async def commit(
        self,
        changes: Sequence[Change],
        *,
        message: str,
        author: str,
        base: str | None = None,
        cause: Cause | None = None,
    ) -> Committed:
        """Write and remove files, as one commit. A repeat for the same cause makes none.

        Parameters:
          changes: At most one for each path.
          message: What is said about it; no line of it begins as a trailer of ours.
          author: The name of who makes it.
          base: The commit that the changes are made to; what others changed since is kept. None is the
            newest, whatever it holds.
          cause: Why it is made.

        Raises:
          MergeConflict: Others changed the same since ``base``.
          Conflict: ``base`` is not in the history (``unknown_base``), or a file is removed that is not in it
            (``no_such_file``).
          InvalidRequest: A path is none (``invalid_path``), or a limit is passed (``file_too_large``,
            ``too_many_files``, ``repository_too_large``).
        """
        ...

    async def exchange(
        self,
        tar: IO[bytes],
        *,
        message: str,
        author: str,
        base: str,
        cause: Cause,
        goes_on: Callable[[], Awaitable[None]],
    ) -> Committed:
        """Exchange the files of a commit for those of a tar, as one commit.

        What the tar does not hold is removed, but for what no archive of the commit would hold, which stays.
        What others changed since is kept, as by `commit`. A repeat for the same run makes no commit.

        Parameters:
          tar: The tar; read from its beginning, more than once where others are faster.
          message: What is said about it.
          author: The name of who makes it.
          base: The commit whose archive it was made from.
          cause: The run that makes it.
          goes_on: Raises where the change is not wanted any more. It is asked after the head was read, so
            that nothing is committed behind `settle`.

        Raises:
          MergeConflict: Others changed the same since ``base``.
          Conflict: The run has committed other files before (``already_committed``), ``base`` is not in the
            history (``unknown_base``), or a path leads through a link or submodule (``path_taken``).
          InvalidRequest: The tar is none that is taken; see `lightning.repositories.tar`.
        """
        ...

    async def settle(self, run: str, *, base: str) -> str | None:
        """Give what a run that is over has committed; what it has under way is not committed any more.

        Parameters:
          run: The run, which `exchange` is told not to go on with.
          base: The commit that it began from.
        """
        ...

    async def revert(self, run: str, *, author: str) -> Committed:
        """Undo what a run committed, as one commit. A repeat makes none.

        Raises:
          NotFound: The run has committed nothing (``nothing_to_revert``).
          MergeConflict: Others changed the same since.
          InvalidRequest: What it found or made has too many files, or what is left would
            (``too_many_files``).
        """
        ...

    async def archive(self, into: IO[bytes], *, at: str | None = None) -> Archive:
        """Write the files of a commit as a tar (POSIX.1-2001).

        Parameters:
          into: Where it is written.
          at: The commit.

        Raises:
          InvalidRequest: They are too large together (``archive_too_large``).
        """
        ...

    async def bundle(self) -> bytes:
        """Give the whole history as a git bundle, which `git clone` takes.

        Raises:
          Conflict: The repository is empty (``empty_repository``).
        """
        ...

    async def load(self, bundle: bytes) -> Committed:
        """Take over the history of a git bundle: its ``HEAD``, or its only branch.

        Raises:
          InvalidRequest: It is no bundle that can be taken (``invalid_bundle``), or too large.
          Conflict: It does not go on from what is here (``not_a_continuation``): fetch, merge, and try again.
        """
        ...
