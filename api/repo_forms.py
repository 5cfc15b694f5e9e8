"""The forms in which people give and see repositories and what is in them."""

import base64
import binascii
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from lightning.repositories.git import MAX_PATTERN_CHARS
from lightning.repositories.paths import MAX_PATH_BYTES
from lightning.repositories.port import MAX_MESSAGE_CHARS

MAX_FILES_PAGE = 1000
MAX_COMMITS_PAGE = 200
MAX_SKIP = 1_000_000
MAX_CHANGES = 1000

RepositoryName = Annotated[
    str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
CommitId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATH_BYTES)]
Message = Annotated[str, StringConstraints(min_length=1, max_length=MAX_MESSAGE_CHARS)]
Kind = Literal["file", "executable", "symlink", "submodule"]
Status = Literal["added", "changed", "deleted", "renamed", "retyped"]

_ID = "3f786850e387550fdab836ed7e6dc881de23001b"


def _base64(text: str | None) -> str | None:
    try:
        base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("it is no base64 (RFC 4648)") from None
    return text


class CredentialsGiven(BaseModel):
    """What the git server asks for; kept encrypted, and never shown."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, Field(max_length=256, description="A name; many servers take any.")] = "git"
    password: Annotated[
        str, Field(min_length=1, max_length=4096, description="The password, or a token.", examples=["token"])
    ]


class RepositoryNew(BaseModel):
    """A repository to be made here, or with a ``url`` one that lives elsewhere."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[RepositoryName, Field(description="What you call it.", examples=["notes"])]
    url: Annotated[
        str | None,
        Field(min_length=1, max_length=2048, description="Where it lives: https, to a public host."),
    ] = None
    credentials: CredentialsGiven | None = None


class RepositoryShown(BaseModel):
    """A repository, as its owner sees it."""

    id: str
    name: Annotated[str, Field(description="What its owner calls it.", examples=["notes"])]
    url: Annotated[str | None, Field(description="Where it lives, if not here.", examples=[None])]
    credentials: Annotated[bool, Field(description="Whether there are credentials for it.")]
    createdAt: str  # noqa: N815 -- the wire's name


class RepositoryWithTip(RepositoryShown):
    """A repository with its newest commit, which is null while it is empty."""

    commit: Annotated[str | None, Field(examples=[_ID])]


class RepositoryList(BaseModel):
    """All repositories of a user."""

    repositories: list[RepositoryShown]


class EntryShown(BaseModel):
    """A file of a commit. Links and submodules are told, and never followed."""

    path: Annotated[str, Field(examples=["notes/today.md"])]
    kind: Kind
    size: Annotated[int | None, Field(description="Its bytes; null for a submodule.")]
    id: Annotated[str, Field(description="The same for the same content.", examples=[_ID])]


class FileList(BaseModel):
    """A page of the files of a commit; ``next`` is the ``after`` of the page behind it."""

    commit: Annotated[str | None, Field(examples=[_ID])]
    files: list[EntryShown]
    next: Annotated[str | None, Field(examples=[None])]


class MatchShown(BaseModel):
    """A line that was found."""

    path: Annotated[str, Field(examples=["notes/today.md"])]
    line: Annotated[int, Field(ge=1, description="Its number, from 1.")]
    text: Annotated[str, Field(description="The first characters of it.")]


class SearchShown(BaseModel):
    """Lines that were found; ``truncated`` says that there are more."""

    commit: Annotated[str | None, Field(examples=[_ID])]
    matches: list[MatchShown]
    truncated: bool


class CommitShown(BaseModel):
    """A commit of the history, with what its trailers say."""

    id: Annotated[str, Field(examples=[_ID])]
    parents: list[str]
    author: str
    time: Annotated[str, Field(description="RFC 3339.")]
    message: Annotated[str, Field(description="One that is very long ends with an ellipsis.")]
    runID: Annotated[str | None, Field(description="The run that made it.")]  # noqa: N815 -- the wire's name
    eventID: Annotated[str | None, Field(description="The event behind it.")]  # noqa: N815 -- the wire's name
    reverts: Annotated[str | None, Field(description="The run that it undoes.")]


class History(BaseModel):
    """A page of the history, newest first; ``next`` is the ``skip`` of the page behind it.

    It may hold fewer commits than asked for, where they say much.
    """

    commits: list[CommitShown]
    next: Annotated[int | None, Field(examples=[None])]


class ChangedShown(BaseModel):
    """A file that two commits differ in."""

    path: Annotated[str, Field(examples=["notes/today.md"])]
    status: Status
    before: Annotated[str | None, Field(description="Its path before, where it was renamed.")]


class DiffShown(BaseModel):
    """What two commits differ in; ``patch`` is cut off where ``truncated`` says so."""

    base: Annotated[str | None, Field(description="Null before the first commit.", examples=[_ID])]
    commit: Annotated[str | None, Field(examples=[_ID])]
    files: list[ChangedShown]
    patch: str
    truncated: bool


class ChangeGiven(BaseModel):
    """A file to be written, as ``text`` or ``base64``; with neither it is removed."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: Annotated[FilePath, Field(examples=["notes/today.md"])]
    text: Annotated[str | None, Field(description="Its content, in UTF-8.", examples=["hello\n"])] = None
    base64: Annotated[
        str | None, AfterValidator(_base64), Field(description="Its content, where it is no text.")
    ] = None
    executable: Annotated[bool | None, Field(description="Left out, it stays as it is.")] = None


class CommitNew(BaseModel):
    """Files to be written and removed as one commit."""

    model_config = ConfigDict(extra="forbid", strict=True)

    message: Annotated[Message, Field(examples=["Write today's notes"])]
    base: Annotated[
        CommitId | None,
        Field(description="The commit that you saw; 40 zeros for none. Left out, it is the newest."),
    ] = None
    files: Annotated[list[ChangeGiven], Field(min_length=1, max_length=MAX_CHANGES)]


class RevertNew(BaseModel):
    """Whose changes are to be undone."""

    model_config = ConfigDict(extra="forbid", strict=True)

    runID: Annotated[  # noqa: N815 -- the wire's name
        str, StringConstraints(pattern=r"^[A-Za-z0-9._:-]{1,128}$"), Field(description="Id of a run.")
    ]


class CommittedShown(BaseModel):
    """The commit that holds what was asked for; ``created`` says whether it was made now."""

    commit: Annotated[str | None, Field(examples=[_ID])]
    created: bool


_At = Annotated[CommitId | None, Field(description="A commit of the history; left out, the newest.")]


class FilesChoice(BaseModel):
    """Which files are listed."""

    at: _At = None
    prefix: Annotated[str, Field(max_length=1024, description="Only paths that begin so.")] = ""
    after: Annotated[str, Field(max_length=1024, description="Only paths behind this one.")] = ""
    limit: Annotated[int, Field(ge=1, le=MAX_FILES_PAGE, description="At most so many.")] = MAX_FILES_PAGE


class FileChoice(BaseModel):
    """Which file is read."""

    path: Annotated[FilePath, Field(description="Its path.")]
    at: _At = None


class WriteChoice(BaseModel):
    """Which file is written or removed, and why."""

    path: Annotated[FilePath, Field(description="Its path.")]
    message: Annotated[Message | None, Field(description="What is said about it.")] = None
    base: Annotated[CommitId | None, Field(description="The commit that you saw; left out, the newest.")] = (
        None
    )


class SearchChoice(BaseModel):
    """What is looked for."""

    q: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATTERN_CHARS),
        Field(description="What to look for, in one line."),
    ]
    regex: Annotated[int, Field(ge=0, le=1, description="1: it is a POSIX extended regular expression.")] = 0
    ignoreCase: Annotated[  # noqa: N815 -- the wire's name
        int, Field(ge=0, le=1, description="1: small and capital letters are the same.")
    ] = 0
    at: _At = None


class LogChoice(BaseModel):
    """Which part of the history."""

    at: _At = None
    path: Annotated[FilePath | None, Field(description="Only what changed this file or folder.")] = None
    skip: Annotated[int, Field(ge=0, le=MAX_SKIP, description="Leave out so many.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_COMMITS_PAGE, description="At most so many.")] = 50


class DiffChoice(BaseModel):
    """Which commits are compared."""

    at: _At = None
    base: Annotated[CommitId | None, Field(description="The one before; left out, the first parent.")] = None
