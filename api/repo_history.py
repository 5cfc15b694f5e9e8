"""`/api/repos/{repo}/log`: how a repository came to be what it is, and its history as a git bundle."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.repo_files import AS_DOWNLOAD, BYTES, UPLOAD_SECONDS
from api.repo_forms import CommittedShown, DiffChoice, DiffShown, History, LogChoice
from api.repos import GIT_PROBLEMS, REMOTE_PROBLEMS, commit_shown, own
from api.requests import read_body, read_query, respond
from lightning.repositories import MAX_REPOSITORY_BYTES, Commit

BUNDLE = "application/x-git-bundle"


async def get_log(request: Request) -> Response:
    """Tell the history of a repository, newest first; with ``path``, of a file or folder."""
    _, _, repository = await own(request)
    choice = read_query(request, LogChoice)
    found = await repository.log(at=choice.at, path=choice.path, skip=choice.skip, limit=choice.limit)
    return respond({"commits": [_commit(each) for each in found.commits], "next": found.next})


async def get_diff(request: Request) -> Response:
    """Tell what two commits differ in: by default the newest and the one before it."""
    _, _, repository = await own(request)
    choice = read_query(request, DiffChoice)
    found = await repository.diff(at=choice.at, base=choice.base)
    return respond(
        {
            "base": commit_shown(found.base),
            "commit": commit_shown(found.commit),
            "files": [{"path": f.path, "status": f.status, "before": f.before} for f in found.files],
            "patch": found.patch,
            "truncated": found.truncated,
        }
    )


async def get_bundle(request: Request) -> Response:
    """Give the whole history as a git bundle: `git clone notes.bundle` takes it."""
    _, known, repository = await own(request)
    data = await repository.bundle()
    headers = {**AS_DOWNLOAD, "content-disposition": f'attachment; filename="{known.name}.bundle"'}
    return Response(data, 200, headers, media_type=BUNDLE)


async def take_bundle(request: Request) -> Response:
    """Take over a history from a git bundle: its ``HEAD``, or its branch ``main``.

    It must go on from what is here. `git bundle create notes.bundle HEAD main` makes one.
    """
    _, _, repository = await own(request, to_change=True)
    data = await read_body(request, max_bytes=MAX_REPOSITORY_BYTES, seconds=UPLOAD_SECONDS)
    done = await repository.load(data)
    return respond({"commit": commit_shown(done.commit), "created": done.created})


def _commit(commit: Commit) -> dict[str, Any]:
    return {
        "id": commit.id,
        "parents": commit.parents,
        "author": commit.author,
        "time": commit.time,
        "message": commit.message,
        "runID": commit.run,
        "eventID": commit.event,
        "reverts": commit.reverts,
    }


ROUTES = (
    Operation(
        "GET",
        "/api/repos/{repo}/log",
        get_log,
        summary="Tell the history of a repository.",
        scope="repos:read",
        query=LogChoice,
        answers={200: History},
        problems={400: ("invalid_path",), 404: ("no_such_commit",), **GIT_PROBLEMS},
    ),
    Operation(
        "GET",
        "/api/repos/{repo}/diff",
        get_diff,
        summary="Tell what two commits differ in.",
        scope="repos:read",
        query=DiffChoice,
        answers={200: DiffShown},
        problems={400: ("too_many_files",), 404: ("no_such_commit",), **GIT_PROBLEMS},
    ),
    Operation(
        "GET",
        "/api/repos/{repo}/bundle",
        get_bundle,
        summary="Give the whole history as a git bundle.",
        scope="repos:read",
        answers={200: BUNDLE},
        problems={
            400: ("repository_too_large",),
            409: ("empty_repository",),
            **GIT_PROBLEMS,
        },
    ),
    Operation(
        "PUT",
        "/api/repos/{repo}/bundle",
        take_bundle,
        summary="Take over a history from a git bundle.",
        scope="repos:write",
        body=BYTES,
        raw_body=True,
        answers={200: CommittedShown},
        problems={
            **GIT_PROBLEMS,
            **REMOTE_PROBLEMS,
            400: ("invalid_bundle", "invalid_path", "repository_too_large", "too_many_files"),
            409: (*REMOTE_PROBLEMS[409], "lives_elsewhere", "not_a_continuation"),
        },
    ),
)
