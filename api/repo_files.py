"""`/api/repos/{repo}/files`: what is in a repository, read and written without a working tree."""

import base64
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.repo_forms import (
    ChangeGiven,
    CommitNew,
    CommittedShown,
    FileChoice,
    FileList,
    FilesChoice,
    RevertNew,
    SearchChoice,
    SearchShown,
    WriteChoice,
)
from api.repos import GIT_PROBLEMS, REMOTE_PROBLEMS, commit_shown, own
from api.requests import platform, read_body, read_form, read_query, respond
from lightning.errors import InvalidEvent
from lightning.repositories import MAX_FILE_BYTES, Change, Committed, Entry, Repository
from lightning.repositories.paths import check_path

BYTES: Final = "application/octet-stream"

#: A file, or a bundle, may take so long to arrive.
UPLOAD_SECONDS: Final = 300.0

#: Nobody's browser is to take what is in a repository for a page of ours.
AS_DOWNLOAD: Final = {
    "cache-control": "no-store",
    "content-disposition": "attachment",
    "content-security-policy": "sandbox",
    "x-content-type-options": "nosniff",
}

_WRITING: Final = {
    **GIT_PROBLEMS,
    **REMOTE_PROBLEMS,
    400: (
        *REMOTE_PROBLEMS[400],
        "file_too_large",
        "invalid_message",
        "invalid_parameter",
        "invalid_path",
        "repository_too_large",
        "too_many_files",
    ),
    409: (*REMOTE_PROBLEMS[409], "merge_conflict", "no_such_file", "path_taken", "unknown_base"),
}
_READING: Final = {400: ("invalid_path", "too_many_files"), 404: ("no_such_commit",), **GIT_PROBLEMS}


async def list_files(request: Request) -> Response:
    """List the files of a commit, in the order of their paths by bytes."""
    _, _, repository = await own(request)
    choice = read_query(request, FilesChoice)
    found = await repository.files(at=choice.at, prefix=choice.prefix, after=choice.after, limit=choice.limit)
    files = [_entry(entry) for entry in found.entries]
    return respond({"commit": commit_shown(found.commit), "files": files, "next": found.next})


async def read_file(request: Request) -> Response:
    """Give the content of a file as it is, at most 8 MiB; of a symbolic link, where it leads."""
    _, _, repository = await own(request)
    choice = read_query(request, FileChoice)
    found = await repository.read(choice.path, at=choice.at)
    headers = {"etag": f'"{found.entry.id}"', "lightning-commit": found.commit, **AS_DOWNLOAD}
    return Response(found.data, 200, headers, media_type=BYTES)


async def write_file(request: Request) -> Response:
    """Write one file, whose content is the body, at most 8 MiB, as a commit.

    Where ``base`` is given, what others changed since is merged, or told as a conflict and kept.
    """
    user_id, _, repository = await own(request, to_change=True)
    choice = read_query(request, WriteChoice)
    data = await read_body(request, max_bytes=MAX_FILE_BYTES, seconds=UPLOAD_SECONDS)
    message = choice.message or f"Write {check_path(choice.path)}"
    return await _commit(request, user_id, repository, [Change(choice.path, data)], message, choice.base)


async def remove_file(request: Request) -> Response:
    """Remove one file, as a commit."""
    user_id, _, repository = await own(request, to_change=True)
    choice = read_query(request, WriteChoice)
    message = choice.message or f"Remove {check_path(choice.path)}"
    return await _commit(request, user_id, repository, [Change(choice.path, None)], message, choice.base)


async def commit_files(request: Request) -> Response:
    """Write and remove several files as one commit.

    Where ``base`` is given, what others changed since is merged, or told as a conflict and kept.
    """
    user_id, _, repository = await own(request, to_change=True)
    new = await read_form(request, CommitNew)
    changes = [_change(place, each) for place, each in enumerate(new.files)]
    return await _commit(request, user_id, repository, changes, new.message, new.base)


async def revert_run(request: Request) -> Response:
    """Undo what a run committed, as one commit; a repeat makes none."""
    user_id, _, repository = await own(request, to_change=True)
    new = await read_form(request, RevertNew)
    author = await platform(request).identity.name_of(user_id)
    return _committed(await repository.revert(new.runID, author=author))


async def search_files(request: Request) -> Response:
    """Look for lines in the text files of a commit; the first 500 are given.

    A user has two searches under way at a time; a further one is to come again.
    """
    user_id, _, repository = await own(request)
    choice = read_query(request, SearchChoice)
    with platform(request).searches.place(user_id):
        found = await repository.search(
            choice.q, at=choice.at, regex=bool(choice.regex), ignore_case=bool(choice.ignoreCase)
        )
    matches = [{"path": each.path, "line": each.line, "text": each.text} for each in found.matches]
    return respond({"commit": commit_shown(found.commit), "matches": matches, "truncated": found.truncated})


async def _commit(
    request: Request,
    user_id: str,
    repository: Repository,
    changes: list[Change],
    message: str,
    base: str | None,
) -> Response:
    author = await platform(request).identity.name_of(user_id)
    done = await repository.commit(changes, message=message, author=author, base=base)
    return _committed(done)


def _committed(done: Committed) -> Response:
    return respond({"commit": commit_shown(done.commit), "created": done.created})


def _change(place: int, given: ChangeGiven) -> Change:
    if given.text is not None and given.base64 is not None:
        message = "give the content as text or as base64"
        raise InvalidEvent(message, code="invalid_field", pointer=f"/files/{place}/base64")
    data = given.text.encode() if given.text is not None else None
    if given.base64 is not None:
        data = base64.b64decode(given.base64)
    return Change(given.path, data, given.executable)


def _entry(entry: Entry) -> dict[str, Any]:
    return {"path": entry.path, "kind": entry.kind, "size": entry.size, "id": entry.id}


ROUTES = (
    Operation(
        "GET",
        "/api/repos/{repo}/files",
        list_files,
        summary="List the files of a commit.",
        scope="repos:read",
        query=FilesChoice,
        answers={200: FileList},
        problems=_READING,
    ),
    Operation(
        "GET",
        "/api/repos/{repo}/file",
        read_file,
        summary="Give the content of a file.",
        scope="repos:read",
        query=FileChoice,
        answers={200: BYTES},
        answer_headers={
            "ETag": "The same for the same content.",
            "Lightning-Commit": "The commit that it was read from.",
        },
        problems={
            **_READING,
            400: ("invalid_path", "file_too_large"),
            404: ("no_such_commit", "no_such_file"),
        },
    ),
    Operation(
        "PUT",
        "/api/repos/{repo}/file",
        write_file,
        summary="Write one file, as a commit.",
        scope="repos:write",
        query=WriteChoice,
        body=BYTES,
        raw_body=True,
        answers={200: CommittedShown},
        problems=_WRITING,
    ),
    Operation(
        "DELETE",
        "/api/repos/{repo}/file",
        remove_file,
        summary="Remove one file, as a commit.",
        scope="repos:write",
        query=WriteChoice,
        answers={200: CommittedShown},
        problems=_WRITING,
    ),
    Operation(
        "POST",
        "/api/repos/{repo}/commits",
        commit_files,
        summary="Write and remove several files as one commit.",
        scope="repos:write",
        body=CommitNew,
        answers={200: CommittedShown},
        problems=_WRITING,
    ),
    Operation(
        "POST",
        "/api/repos/{repo}/revert",
        revert_run,
        summary="Undo what a run committed.",
        scope="repos:write",
        body=RevertNew,
        answers={200: CommittedShown},
        problems={**_WRITING, 404: ("nothing_to_revert",)},
    ),
    Operation(
        "GET",
        "/api/repos/{repo}/search",
        search_files,
        summary="Look for lines in the text files of a commit.",
        scope="repos:read",
        query=SearchChoice,
        answers={200: SearchShown},
        problems={
            **_READING,
            400: ("invalid_pattern", "search_too_long"),
            429: ("too_many_searches",),
        },
    ),
)
