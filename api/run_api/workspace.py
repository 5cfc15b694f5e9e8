"""`/run/workspace`: the files of the repository that a run works on, there and back."""

import gzip
from contextlib import AbstractContextManager, nullcontext
from typing import IO, Annotated, Final, cast

from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.repo_files import BYTES
from api.repo_forms import CommittedShown
from api.repos import GIT_PROBLEMS, REMOTE_PROBLEMS, commit_shown
from api.requests import platform, read_query, respond
from api.run_api.access import run_access
from api.transfers import FileResponse, receive
from lightning.domain.repositories import Known
from lightning.domain.run_tokens import RunAccess
from lightning.domain.runs import Workspace
from lightning.errors import NotFound, Unauthorized
from lightning.repositories import Cause

TAR: Final = "application/x-tar"

#: Of gzip's, the one that takes the least time: the way is short, and packing holds up others.
_LEVEL: Final = 1


class Word(BaseModel):
    """What is said about a commit."""

    message: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=1000),
        Field(description="What the run has done; left out, the agent and the task are named."),
    ] = None


async def get_workspace(request: Request) -> Response:
    """Give the files of the commit that the run began from, as a tar (POSIX.1-2001).

    Symbolic links, submodules and files over 8 MiB are not in it. With ``Accept-Encoding: gzip`` it is
    compressed.
    """
    access = await run_access(request)
    parts = platform(request)
    given, known = await _workspace(request, access)
    repository = parts.repositories.open_to_read(access.user_id, known)
    compressed = _takes_gzip(request)

    async def pack(file: IO[bytes]) -> None:
        with _compressing(file) if compressed else nullcontext(file) as into:
            await repository.archive(into, at=given["base"])

    headers = {"lightning-commit": given["base"], "vary": "accept-encoding"}
    headers |= {"content-encoding": "gzip"} if compressed else {}
    return FileResponse(parts.transfers, access.user_id, pack, headers=headers, media_type=TAR)


async def put_workspace(request: Request) -> Response:
    """Take the whole workspace as it is now, as a tar: what differs from the base becomes one commit.

    What is missing in it is deleted, but for what was left out on the way to the run, which stays. It holds
    plain files alone, each once: at most 20,000 of 8 MiB each and 128 MiB together. It may be compressed
    (``Content-Encoding: gzip``).

    The commit goes on top of what others have committed since. Where they have changed the same, nothing is
    committed (``merge_conflict``). A run makes one commit: the same again is answered with the first one, and
    other files are refused (``already_committed``). Where nothing differs there is no commit, and the answer
    names the newest one.
    """
    access = await run_access(request)
    parts = platform(request)
    word = read_query(request, Word)
    given, known = await _workspace(request, access)
    repository = parts.repositories.open(access.user_id, known)
    task = access.task
    agent = " ".join((task["metadata"].get("agent") or task["metadata"].get("image") or "").split())

    async def goes_on() -> None:
        run = await parts.runs.current(access.user_id, access.run["id"])
        is_over = run is None or run["outcome"] is not None
        if is_over or not await parts.run_tokens.still_good(access):
            raise Unauthorized("the run is over", code="invalid_token")

    with parts.transfers.place(access.user_id) as tar:
        await receive(request, tar)
        async with parts.transfers.work():
            done = await repository.exchange(
                tar,
                message=word.message or f"Work of {agent} on task {task['id']}",
                author=agent,
                base=given["base"],
                cause=Cause(access.run["id"], task["id"]),
                goes_on=goes_on,
            )
    parts.crash("workspace:committed")
    return respond({"commit": commit_shown(done.commit), "created": done.created})


async def _workspace(request: Request, access: RunAccess) -> tuple[Workspace, Known]:
    """Give what a run works on.

    Raises:
      NotFound: Its task names no repository (``no_repository``), or it was deleted meanwhile.
    """
    parts = platform(request)
    run = access.run
    if "workspace" not in run and access.task["metadata"].get("repo") is not None:
        # the worker may have written it a moment ago
        run = await parts.runs.current(access.user_id, run["id"]) or run
    given = run.get("workspace")
    if given is None:
        message = "the task of this run names no repository; give it one as its repo"
        raise NotFound(message, code="no_repository")
    return given, await parts.repositories.find(access.user_id, given["repo"])


def _compressing(file: IO[bytes]) -> AbstractContextManager[IO[bytes]]:
    packed = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=_LEVEL, mtime=0)
    return cast("AbstractContextManager[IO[bytes]]", packed)  # typeshed calls it no file


def _takes_gzip(request: Request) -> bool:
    """Tell whether a client wants gzip (RFC 9110, section 12.5.3)."""
    for each in request.headers.get("accept-encoding", "").split(","):
        coding, _, weight = each.replace(" ", "").lower().partition(";")
        if coding == "gzip":
            return weight.rstrip("0") not in {"q=", "q=0."}
    return False


ROUTES = (
    Operation(
        "GET",
        "/run/workspace",
        get_workspace,
        summary="Give the files that the run began from.",
        scope=None,
        for_runs=True,
        tag="run",
        headers={"Accept-Encoding": "`gzip` has it compressed."},
        answers={200: TAR},
        answer_headers={"Lightning-Commit": "The commit that the run began from; 40 zeros for none."},
        problems={
            **GIT_PROBLEMS,
            400: ("archive_too_large", "too_many_files"),
            404: ("not_found", "no_repository", "no_such_commit"),
            429: ("too_many_transfers",),
        },
    ),
    Operation(
        "PUT",
        "/run/workspace",
        put_workspace,
        summary="Take the workspace back, as one commit.",
        scope=None,
        for_runs=True,
        tag="run",
        query=Word,
        headers={"Content-Encoding": "`gzip`, where it is compressed."},
        body=BYTES,
        raw_body=True,
        answers={200: CommittedShown},
        problems={
            **GIT_PROBLEMS,
            **REMOTE_PROBLEMS,
            400: (
                *REMOTE_PROBLEMS[400],
                "archive_too_large",
                "file_too_large",
                "invalid_message",
                "invalid_path",
                "invalid_tar",
                "not_a_file",
                "repository_too_large",
                "too_many_files",
            ),
            404: ("not_found", "no_repository"),
            409: (
                *REMOTE_PROBLEMS[409],
                "already_committed",
                "merge_conflict",
                "path_taken",
                "unknown_base",
            ),
            415: ("unsupported_media_type",),
            429: ("too_many_transfers",),
        },
    ),
)
