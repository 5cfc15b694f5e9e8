"""What a repository holds and tells, and what is done to it."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["file", "executable", "symlink", "submodule"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a commit.

    Parameters:
      path: Its path, with slashes.
      kind: What it is. Links and submodules are told, and never followed.
      size: Its bytes; None for a submodule.
      id: The object that holds it: the same content has the same.
    """

    path: str
    kind: Kind
    size: int | None
    id: str


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of the files of a commit; ``next`` is the path to go on behind, None on the last page."""

    commit: str
    entries: list[Entry]
    next: str | None


@dataclass(frozen=True, slots=True)
class File:
    """A file with its content; of a symbolic link, where it leads."""

    commit: str
    entry: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class Match:
    """One line that was looked for; ``line`` counts from 1."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found; ``truncated`` says that there is more than it gives."""

    commit: str
    matches: list[Match]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as the history tells it.

    Parameters:
      id: Its id.
      parents: The ids of what it follows.
      author: Who made it, a name.
      time: When, RFC 3339.
      message: Its message; one that is longer than any of ours is cut off, and ends with an ellipsis.
      run: The run that made it, by its trailer.
      event: The event behind it, by its trailer.
      reverts: The run that it undoes, by its trailer.
      effect: Which of the effects of the event it is, by its trailer.
    """

    id: str
    parents: list[str]
    author: str
    time: str
    message: str
    run: str | None
    event: str | None
    reverts: str | None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class History:
    """A page of the history, newest first; ``next`` is the ``skip`` of the page behind it."""

    commits: list[Commit]
    next: int | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A file that two commits differ in; ``before`` is its path before where it was renamed."""

    path: str
    status: Literal["added", "changed", "deleted", "renamed", "retyped"]
    before: str | None


@dataclass(frozen=True, slots=True)
class Diff:
    """What two commits differ in, also as a patch in git's format; ``truncated`` says that it goes on."""

    base: str
    commit: str
    files: list[Changed]
    patch: str
    truncated: bool


@dataclass(frozen=True, slots=True)
class Change:
    """One file to be written or removed.

    Parameters:
      path: Its path.
      data: Its content; None removes it.
      executable: Whether it may be run; None leaves that as it is.
    """

    path: str
    data: bytes | None
    executable: bool | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """What came of a change.

    Parameters:
      commit: The commit that holds it; where nothing was to change, the one that was there.
      created: Whether it was made now; not where an attempt before had made it.
    """

    commit: str
    created: bool


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a change is made, as it stands in the trailers of its commit.

    Parameters:
      run: The run that makes it: at most one commit has it.
      event: The event behind it; where neither run nor effect is named, at most one commit has it.
      effect: Which of the effects of the event it is, where one event may make several; at most one commit
        has it.
    """

    run: str | None = None
    event: str | None = None
    effect: str | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """What a tar of the files of a commit holds.

    Parameters:
      commit: The commit.
      left_out: Links, submodules and files over the limit, which are not in it.
    """

    commit: str
    left_out: list[str]
