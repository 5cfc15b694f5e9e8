"""`/api/runs/{id}/revert`: undo what a run has committed."""

from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.platform import Platform
from api.repo_forms import CommittedShown
from api.repos import GIT_PROBLEMS, REMOTE_PROBLEMS, commit_shown
from api.requests import platform, respond
from api.runs import own_run
from lightning.domain.runs import RunDocument
from lightning.errors import Conflict, NotFound
from lightning.repositories import Committed


async def revert_run(request: Request) -> Response:
    """Undo what a run of the caller's has committed to the repository of its task, as one commit.

    A repeat makes none, and is answered with the first one. Where others have changed the same since, nothing
    is undone, and the files are named.
    """
    done = await revert(platform(request), await own_run(request))
    return respond({"commit": commit_shown(done.commit), "created": done.created})


async def revert(parts: Platform, found: RunDocument) -> Committed:
    """Undo what a run has committed.

    Raises:
      Conflict: There is nothing to undo, or others changed the same since.
    """
    given = found.get("workspace")
    if given is None:
        raise Conflict("the run works on no repository: there is nothing to undo", code="nothing_to_revert")
    user_id = found["userID"]
    try:
        known = await parts.repositories.find(user_id, given["repo"])
        author = await parts.identity.name_of(user_id)
        return await parts.repositories.open(user_id, known).revert(found["id"], author=author)
    except NotFound as error:
        raise Conflict(f"there is nothing to undo: {error.message}", code="nothing_to_revert") from None


ROUTES = (
    Operation(
        "POST",
        "/api/runs/{id}/revert",
        revert_run,
        summary="Undo what a run of the caller's has committed.",
        scope="repos:write",
        tag="runs",
        answers={200: CommittedShown},
        problems={
            **GIT_PROBLEMS,
            **REMOTE_PROBLEMS,
            400: (*REMOTE_PROBLEMS[400], "repository_too_large", "too_many_files"),
            409: (*REMOTE_PROBLEMS[409], "merge_conflict", "nothing_to_revert"),
        },
    ),
)
