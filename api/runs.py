"""`/api/runs`: what became of tasks in their containers, and what they printed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.platform import Platform
from api.repos import commit_shown
from api.requests import authenticated, platform, read_form, respond, whole_number
from api.run_api.asking import Key, MessageShown, QuestionShown, message_shown
from api.run_api.reports import MetricShown, ProgressShown, ResultShown
from api.run_follow import follow_log
from api.shown import ProblemShown
from api.stream import EventStream, origin_headers, place
from api.stream_access import stream_claims
from lightning.domain.runs import RunDocument
from lightning.domain.tokens import Claims
from lightning.errors import Conflict, InvalidRequest, NotFound
from lightning.events import EventDocument
from lightning.repositories import NO_COMMIT

MAX_PAGE = 200

#: Characters of a log that one answer gives.
MAX_LOG_CHARS = 128 * 1024

#: No log is as long.
MAX_OFFSET = 2**31

#: As a log comes: at once, or as it grows.
JSON = "application/json"
STREAM = "text/event-stream"

RunStatus = Literal[
    "waiting", "starting", "running", "succeeded", "failed", "timed_out", "out_of_memory", "cancelled"
]


class RunShown(BaseModel):
    """The run of a task."""

    id: str
    taskID: Annotated[str, Field(description="Id of its `worker.task`.")]  # noqa: N815 -- the wire's name
    status: Annotated[RunStatus, Field(description="Where it stands, or how it ended.")]
    message: Annotated[str | None, Field(description="How it ended, for a person; null before.")]
    exitCode: Annotated[  # noqa: N815 -- the wire's name
        int | None, Field(description="What the command returned; null where nothing is known.")
    ]
    error: Annotated[ProblemShown | None, Field(examples=[None])]
    agent: Annotated[str | None, Field(description="The agent that runs.", examples=["echo"])]
    image: Annotated[str | None, Field(description="The image, where it is no agent.", examples=[None])]
    command: Annotated[list[str] | None, Field(description="The command in the image.", examples=[None])]
    createdAt: Annotated[str, Field(description="When it was made (RFC 3339).")]  # noqa: N815
    startedAt: Annotated[str | None, Field(description="When its command began.")]  # noqa: N815
    endedAt: Annotated[str | None, Field(description="When its command was over.")]  # noqa: N815
    repo: Annotated[str | None, Field(description="Id of the repository that it works on.", examples=[None])]
    base: Annotated[str | None, Field(description="The commit that it began from.", examples=[None])]
    commit: Annotated[
        str | None, Field(description="What it committed; null before it is over.", examples=[None])
    ]
    logChars: Annotated[int, Field(description="The length of its log, in characters.")]  # noqa: N815


class RunWithReport(RunShown):
    """The run of a task, with what it says of itself and what it was told."""

    progress: Annotated[list[ProgressShown], Field(description="The latest 20, the last one last.")]
    metrics: list[MetricShown]
    questions: list[QuestionShown]
    messages: Annotated[list[MessageShown], Field(description="What the user has said to it.")]
    result: Annotated[ResultShown | None, Field(examples=[None])]


class RunsShown(BaseModel):
    """A page of runs; ``next`` is the ``page`` of the page behind it."""

    runs: list[RunShown]
    next: str | None


class LogShown(BaseModel):
    """A part of what a run printed."""

    text: Annotated[str, Field(description="What it printed; empty where there is nothing more yet.")]
    offset: Annotated[int, Field(description="The characters of the log before it.")]
    next: Annotated[int, Field(description="The `offset` to ask for next.")]
    complete: Annotated[bool, Field(description="Whether nothing comes behind it any more.")]


class MessageForm(BaseModel):
    """What is said to a run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    content: Annotated[str, StringConstraints(min_length=1, max_length=2000), Field(examples=["main"])]
    questionID: Annotated[  # noqa: N815 -- the wire's name
        str | None, StringConstraints(max_length=128), Field(description="The question that it answers.")
    ] = None
    key: Key = None


class PageChoice(BaseModel):
    """Which page of the runs."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    page: Annotated[str | None, Field(description="The `next` of the page before.")] = None


class LogChoice(BaseModel):
    """Which part of a log."""

    offset: Annotated[int, Field(ge=0, le=MAX_OFFSET, description="Characters to leave out.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_LOG_CHARS, description="Characters at most.")] = 65536
    follow: Annotated[
        Literal["true", "false"],
        Field(description="`true` streams it until it is complete, in frames named `log` and one `end`."),
    ] = "false"


async def list_runs(request: Request) -> Response:
    """List the caller's runs, that of the latest task first."""
    claims = await authenticated(request)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    parts = platform(request)
    try:
        page = await parts.runs.newest(claims.subject, limit=limit, page=request.query_params.get("page"))
    except ValueError:
        raise InvalidRequest(
            "the parameter page is the next of another page", code="invalid_parameter"
        ) from None
    return respond({"runs": [await run_shown(parts, run) for run in page.runs], "next": page.next})


async def get_run(request: Request) -> Response:
    """Show one run of the caller's, with what it says of itself."""
    found = await own_run(request)
    parts = platform(request)
    report = await parts.run_reports.read(found)
    said = {name: report[name] for name in ("progress", "metrics", "questions", "result")}
    messages = [message_shown(each) for each in report["messages"]]
    return respond({**await run_shown(parts, found), **said, "messages": messages})


async def post_message(request: Request) -> Response:
    """Say something to a run that goes on, such as the answer to what it has asked.

    The run finds it with `GET /run/messages`, if it looks.
    """
    found = await own_run(request)
    parts = platform(request)
    form = await read_form(request, MessageForm)
    if found["outcome"] is not None or await end_of_task(parts, found) is not None:
        raise Conflict("the run is over", code="run_over")
    told = await parts.run_reports.tell(found, form.content, form.questionID, form.key)
    parts.hub.wake(found["userID"])
    return respond(message_shown(told), 201)


async def get_log(request: Request) -> Response:
    """Give a part of what a run printed, standard output and standard error as they came.

    While the run goes on, a worker takes the log over about once a second. The first MiB of it is kept.

    Whoever follows it asks again from ``next`` until it is ``complete``, or for server-sent events by
    ``?follow=true``. There the id of a frame is the offset behind it: a client that comes back with
    ``Last-Event-ID`` goes on where it was. It counts as one of the user's streams.
    """
    parts = platform(request)
    follows = request.query_params.get("follow", "false")
    if follows not in {"true", "false"}:
        raise InvalidRequest("the parameter follow is true or false", code="invalid_parameter")
    if follows == "true":
        claims = await stream_claims(request)
        followed = await _owned(request, claims)
        frames = partial(follow_log, parts, followed, place(request, "offset", MAX_OFFSET))
        return EventStream(parts, claims, frames, deltas=False, headers=origin_headers(request))
    found = await own_run(request)
    offset = whole_number(request, "offset", 0, highest=MAX_OFFSET)
    limit = whole_number(request, "limit", 65536, lowest=1, highest=MAX_LOG_CHARS)
    text = await parts.runs.log(found, offset, limit)
    behind = offset + len(text)
    over = found["outcome"] is not None or await end_of_task(parts, found) is not None
    complete = over and behind >= found["log"]["chars"]
    return respond({"text": text, "offset": offset, "next": behind, "complete": complete})


async def own_run(request: Request) -> RunDocument:
    """Give the run of the caller's that the path names.

    Raises:
      NotFound: They have no such run.
    """
    return await _owned(request, await authenticated(request))


async def _owned(request: Request, claims: Claims) -> RunDocument:
    found = await platform(request).runs.find(claims.subject, request.path_params["id"])
    if found is None:
        raise NotFound("there is no such run, or it is not yours")
    return found


async def run_shown(parts: Platform, run: RunDocument) -> dict[str, Any]:
    """Give the form in which people see a run."""
    outcome = run["outcome"] or await end_of_task(parts, run) or {"status": run["stage"]}
    given: Mapping[str, Any] = run.get("workspace") or {}
    return {
        "id": run["id"],
        "taskID": run["eventID"],
        "status": outcome["status"],
        "message": outcome.get("message"),
        "exitCode": outcome.get("exitCode"),
        "error": outcome.get("error"),
        **{name: run[name] for name in ("agent", "image", "command", "createdAt")},
        "startedAt": _text(run["startedAt"]),
        "endedAt": _text(run["endedAt"]),
        "repo": given.get("repo"),
        "base": commit_shown(given.get("base", NO_COMMIT)),
        "commit": given.get("commit"),
        "logChars": run["log"]["chars"],
    }


async def end_of_task(parts: Platform, run: RunDocument) -> dict[str, Any] | None:
    """Say how a run ended whose task did: nobody may have come to write that down yet."""
    return _ended_with(await parts.log.get(run["userID"], run["eventID"]))


def status_of(run: RunDocument, task: EventDocument) -> str:
    """Say in a word where a run stands, or how it ended."""
    outcome = run["outcome"] or _ended_with(task) or {"status": run["stage"]}
    return outcome["status"]


def _ended_with(task: EventDocument | None) -> dict[str, Any] | None:
    if task is None or task["state"] == "accepted" or task["error"] is None:
        return None
    status = "cancelled" if task["state"] == "cancelled" else "failed"
    return {"status": status, "message": task["error"]["message"], "error": task["error"]}


def _text(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ROUTES = (
    Operation(
        "GET",
        "/api/runs",
        list_runs,
        summary="List the caller's runs, that of the latest task first.",
        scope="events:read",
        query=PageChoice,
        answers={200: RunsShown},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "GET",
        "/api/runs/{id}",
        get_run,
        summary="Show one run of the caller's.",
        scope="events:read",
        answers={200: RunWithReport},
    ),
    Operation(
        "POST",
        "/api/runs/{id}/messages",
        post_message,
        summary="Say something to a run of the caller's that goes on.",
        scope="events:write",
        body=MessageForm,
        answers={201: MessageShown},
        problems={409: ("run_over", "too_many_messages", "id_taken")},
    ),
    Operation(
        "GET",
        "/api/runs/{id}/logs",
        get_log,
        summary="Give a part of what a run printed.",
        scope="events:read",
        query=LogChoice,
        headers={
            "Last-Event-ID": "Of a stream: the id of the last frame that was seen; wins over `offset`.",
            "Origin": "Of a stream to a browser's page: as of `/api/stream`.",
        },
        answers={200: {JSON: LogShown, STREAM: None}},
        frames={"log": LogShown, "end": LogShown},
        problems={
            400: ("invalid_position", "invalid_parameter", "token_in_url"),
            403: ("foreign_origin",),
            429: ("too_many_streams",),
        },
    ),
)
