"""`/api/events/{id}/tree`: all that a root event brought about, as one tree."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.events import MAX_PAGE, MAX_PLACE
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, respond, whole_number
from api.runs import RunStatus, status_of
from api.shown import ProblemShown, State
from lightning.errors import NotFound
from lightning.events import EventDocument
from lightning.storage import Where


class TreeRun(BaseModel):
    """The run of a task in a tree."""

    id: str
    status: Annotated[RunStatus, Field(description="Where it stands, or how it ended.")]


class TreeNode(BaseModel):
    """An event in a tree; all that it says is at `/api/events/{id}`."""

    id: str
    seq: int
    type: Annotated[str, Field(examples=["worker.task"])]
    cause: Annotated[str | None, Field(examples=[None])]
    state: State
    name: Annotated[
        str | None, Field(description="What a task calls itself, or else what runs.", examples=["summary"])
    ]
    recordedAt: str  # noqa: N815 -- the wire's name
    endedAt: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="When it was over (RFC 3339).", examples=[None])
    ]
    seconds: Annotated[
        float | None, Field(description="From its recording to its end; null before.", examples=[None])
    ]
    run: Annotated[TreeRun | None, Field(description="The run of a task that has one.", examples=[None])]
    status: Annotated[str | None, Field(description="What a result tells of the end.", examples=[None])]
    error: Annotated[ProblemShown | None, Field(examples=[None])]


class TreeShown(BaseModel):
    """A page of a tree in order of ``seq``, which is that every event comes behind its cause."""

    root: str
    events: list[TreeNode]
    next: Annotated[int | None, Field(examples=[None])]


class TreePage(BaseModel):
    """Which part of a tree."""

    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `seq` to begin behind.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 100


async def get_tree(request: Request) -> Response:
    """Show the tree that an event belongs to: its root, and all that followed from that.

    A page has fewer than ``limit`` where events are large: only ``next`` tells whether there are more.
    """
    claims = await authenticated(request)
    parts = platform(request)
    after = whole_number(request, "after", 0, highest=MAX_PLACE)
    limit = whole_number(request, "limit", 100, lowest=1, highest=MAX_PAGE)
    event = await parts.log.get(claims.subject, request.path_params["id"])
    if event is None:
        raise NotFound("there is no such event, or it is not yours")
    root = event["root"]
    page = await parts.log.events(claims.subject, [Where("root", "=", root)], after=after, limit=limit)
    nodes = await asyncio.gather(*(_node(parts, each) for each in page))
    return respond({"root": root, "events": nodes, "next": page[-1]["seq"] if page.more else None})


async def _node(parts: Platform, event: EventDocument) -> dict[str, Any]:
    said, ended = event["metadata"], event.get("endedAt")
    return {
        **{name: event[name] for name in ("id", "seq", "type", "cause", "state", "recordedAt", "error")},
        "name": said.get("name") or said.get("agent") or said.get("image"),
        "endedAt": ended,
        "seconds": None if ended is None else _seconds(event["recordedAt"], ended),
        "run": await _run(parts, event) if event["type"] == "worker.task" else None,
        "status": said.get("status"),
    }


async def _run(parts: Platform, task: EventDocument) -> dict[str, Any] | None:
    run = await parts.runs.of_task(task["userID"], task["id"])
    return None if run is None else {"id": run.document["id"], "status": status_of(run.document, task)}


def _seconds(begin: str, end: str) -> float:
    return round(max(0.0, (_moment(end) - _moment(begin)).total_seconds()), 3)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


ROUTES = (
    Operation(
        "GET",
        "/api/events/{id}/tree",
        get_tree,
        summary="Show the tree that an event belongs to: its root, and all that followed from that.",
        scope="events:read",
        tag="events",
        query=TreePage,
        answers={200: TreeShown},
        problems={400: ("invalid_parameter",)},
    ),
)
