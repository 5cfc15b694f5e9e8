"""Repositories: files, commits, and what differs."""

from typing import Literal, NotRequired, TypedDict


class RepositoryShown(TypedDict):
    """A repository; ``url`` says where it lives, if not here, and ``commit`` is the newest one."""

    id: str
    name: str
    url: str | None
    credentials: bool
    createdAt: str
    commit: NotRequired[str | None]


class FileEntry(TypedDict):
    """A file of a commit."""

    path: str
    kind: Literal["file", "executable", "symlink", "submodule"]
    size: int | None
    id: str


class FilePage(TypedDict):
    """A page of files; ``next`` is the ``after`` of the page behind it."""

    commit: str | None
    files: list[FileEntry]
    next: str | None


class CommitMade(TypedDict):
    """The commit that holds a change; ``created`` says whether it was made now."""

    commit: str | None
    created: bool


class FoundLine(TypedDict):
    """A line that was found."""

    path: str
    line: int
    text: str


class FoundLines(TypedDict):
    """Lines that were found."""

    commit: str | None
    matches: list[FoundLine]
    truncated: bool


class CommitTold(TypedDict):
    """A commit of the history."""

    id: str
    parents: list[str]
    author: str
    time: str
    message: str
    runID: str | None
    eventID: str | None
    reverts: str | None


class CommitPage(TypedDict):
    """A page of the history; ``next`` is the ``skip`` of the page behind it."""

    commits: list[CommitTold]
    next: int | None


class ChangedFile(TypedDict):
    """A file that two commits differ in."""

    path: str
    status: Literal["added", "changed", "deleted", "renamed", "retyped"]
    before: str | None


class Difference(TypedDict):
    """What two commits differ in."""

    base: str | None
    commit: str | None
    files: list[ChangedFile]
    patch: str
    truncated: bool
