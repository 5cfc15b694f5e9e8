"""The users' git repositories."""

from lightning.repositories.content import (
    Archive,
    Cause,
    Change,
    Changed,
    Commit,
    Committed,
    Diff,
    Entry,
    File,
    Found,
    History,
    Listing,
    Match,
)
from lightning.repositories.opening import RepositoryStore
from lightning.repositories.port import (
    MAX_FILE_BYTES,
    MAX_REPOSITORY_BYTES,
    NO_COMMIT,
    GitFailed,
    GitMissing,
    Limits,
    MergeConflict,
    Repository,
)
from lightning.repositories.remote import Place, Remote, RemoteRefused

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_REPOSITORY_BYTES",
    "NO_COMMIT",
    "Archive",
    "Cause",
    "Change",
    "Changed",
    "Commit",
    "Committed",
    "Diff",
    "Entry",
    "File",
    "Found",
    "GitFailed",
    "GitMissing",
    "History",
    "Limits",
    "Listing",
    "Match",
    "MergeConflict",
    "Place",
    "Remote",
    "RemoteRefused",
    "Repository",
    "RepositoryStore",
]
