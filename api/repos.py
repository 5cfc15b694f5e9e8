"""`/api/repos`: a user's repositories.

Their files stand in `api.repo_files`, what is told of their history in `api.repo_history`.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.repo_forms import RepositoryList, RepositoryNew, RepositoryShown, RepositoryWithTip
from api.requests import authenticated, platform, read_form, respond
from lightning.domain.repositories import Credentials, Known
from lightning.repositories import NO_COMMIT, Repository

#: What any operation may answer that has git work.
GIT_PROBLEMS = {500: ("git_failed",), 503: ("git_missing", "repository_busy")}


#: What any operation may answer that changes a repository which lives elsewhere.
REMOTE_PROBLEMS = {
    400: ("invalid_remote",),
    409: ("address_refused", "remote_refused", "unreadable_secret"),
    422: ("address_refused", "invalid_url"),
    503: ("git_missing", "remote_unreachable", "repository_busy"),
}


async def own(request: Request, *, to_change: bool = False) -> tuple[str, Known, Repository]:
    """Give the caller, and the repository of theirs that the path names by id or name.

    Raises:
      NotFound: They have no such repository.
    """
    claims = await authenticated(request)
    repositories = platform(request).repositories
    known = await repositories.find(claims.subject, request.path_params["repo"])
    opened = repositories.open if to_change else repositories.open_to_read
    return claims.subject, known, opened(claims.subject, known)


def commit_shown(commit: str) -> str | None:
    """Show a commit as the wire has it: null where there is none."""
    return None if commit == NO_COMMIT else commit


async def list_repositories(request: Request) -> Response:
    """List the caller's repositories, in the order of their creation."""
    claims = await authenticated(request)
    found = await platform(request).repositories.of(claims.subject)
    return respond({"repositories": [_shown(known) for known in found]})


async def create_repository(request: Request) -> Response:
    """Make a repository, or register one that lives elsewhere.

    Without ``url`` it is made here, empty: a git repository with one branch, ``main``, of at most 64 MiB.
    """
    claims = await authenticated(request)
    new = await read_form(request, RepositoryNew)
    given = new.credentials
    made = await platform(request).repositories.create(
        claims.subject,
        new.name,
        url=new.url,
        credentials=None if given is None else Credentials(given.username, given.password),
    )
    return respond(_shown(made), 201, {"location": f"/api/repos/{made.id}"})


async def get_repository(request: Request) -> Response:
    """Show one repository of the caller's, by its id or name."""
    _, known, repository = await own(request)
    return respond({**_shown(known), "commit": commit_shown(await repository.tip())})


async def delete_repository(request: Request) -> Response:
    """Remove a repository with all that is in it."""
    user_id, known, _ = await own(request)
    await platform(request).repositories.delete(user_id, known.id)
    return Response(status_code=204)


async def fetch_repository(request: Request) -> Response:
    """Fetch what is new where a repository lives, of the branch that its ``HEAD`` names there.

    Reading shows what was fetched last. Whoever changes such a repository has it fetched first, and the
    change is pushed there.
    """
    _, known, repository = await own(request, to_change=True)
    return respond({**_shown(known), "commit": commit_shown(await repository.refresh())})


def _shown(known: Known) -> dict[str, Any]:
    return {
        "id": known.id,
        "name": known.name,
        "url": known.url,
        "credentials": known.sealed is not None,
        "createdAt": known.created_at,
    }


ROUTES = (
    Operation(
        "GET",
        "/api/repos",
        list_repositories,
        summary="List the caller's repositories.",
        scope="repos:read",
        answers={200: RepositoryList},
    ),
    Operation(
        "POST",
        "/api/repos",
        create_repository,
        summary="Make a repository, or register one that lives elsewhere.",
        scope="repos:write",
        body=RepositoryNew,
        answers={201: RepositoryShown},
        problems={
            409: ("name_taken", "too_many_repositories"),
            422: ("invalid_url", "address_refused"),
            503: ("no_secret_key",),
        },
    ),
    Operation(
        "GET",
        "/api/repos/{repo}",
        get_repository,
        summary="Show one repository of the caller's, by its id or name.",
        scope="repos:read",
        answers={200: RepositoryWithTip},
    ),
    Operation(
        "POST",
        "/api/repos/{repo}/fetch",
        fetch_repository,
        summary="Fetch what is new where a repository lives.",
        scope="repos:write",
        answers={200: RepositoryWithTip},
        problems={
            **GIT_PROBLEMS,
            **REMOTE_PROBLEMS,
            400: ("invalid_path", "invalid_remote", "repository_too_large", "too_many_files"),
        },
    ),
    Operation(
        "DELETE",
        "/api/repos/{repo}",
        delete_repository,
        summary="Remove a repository with all that is in it.",
        scope="repos:write",
        answers={204: None},
    ),
)
