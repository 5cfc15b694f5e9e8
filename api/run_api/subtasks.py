"""`/run/tasks`: tasks that a run starts, and what becomes of them."""

import asyncio
import hashlib
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import platform, respond, whole_number
from api.run_api.access import read_form, run_access
from api.run_api.asking import LOOK_SECONDS, MAX_WAIT_SECONDS, Key
from api.shown import State
from lightning.domain import subtasks
from lightning.domain.run_reports import MAX_SUBTASKS
from lightning.domain.run_tokens import RunAccess
from lightning.errors import InvalidEvent, NotFound, Unauthorized, json_pointer
from lightning.events import Draft, EventDocument, normal_form, now_text
from lightning.groups import GroupMetadata
from lightning.ids import derived_id
from lightning.tasks import ENDINGS, TaskMetadata
from lightning.telemetry import carrier

#: The error of what is started as its run comes to its end.
RUN_OVER = {"code": "run_over", "message": "The run that started it was over"}

GROUP = "worker.group"
TASK = "worker.task"


class SubtasksForm(BaseModel):
    """What a run starts: tasks, or a group of them, which is joined and undone as a whole."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [{"required": ["tasks"]}, {"required": ["group"]}],
            "examples": [{"tasks": [{"name": "one", "agent": "echo", "input": 1}]}],
        },
    )

    tasks: (
        Annotated[
            list[TaskMetadata],
            Field(min_length=1, max_length=MAX_SUBTASKS, description="Each as a `worker.task`."),
        ]
        | None
    ) = None
    group: Annotated[GroupMetadata | None, Field(description="As a `worker.group`.")] = None
    key: Key = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.tasks is None) == (self.group is None):
            raise ValueError("give tasks, or else a group")
        return self


class SubtasksShown(BaseModel):
    """The ids of what a run started, in its order; of a group, its own."""

    ids: list[str]


class SubtaskShown(BaseModel):
    """What has become of something that a run started."""

    id: str
    type: Annotated[Literal["worker.task", "worker.group"], Field(examples=[TASK])]
    name: Annotated[str | None, Field(description="What it calls itself.", examples=["one"])]
    state: State
    result: Annotated[
        dict[str, Any] | None,
        Field(
            description="What its `worker.task.result` or `worker.group.result` says; null before.",
            examples=[None],
        ),
    ]


class Patience(BaseModel):
    """Whether to wait."""

    wait: Annotated[
        int, Field(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for it to be over.")
    ] = 0


async def post_tasks(request: Request) -> Response:
    """Start tasks that are a part of what the run does.

    They follow from its task: they spend from its budget, and are cancelled with it. They have the network
    only if the run has it, and work on its repository or on none. Once they are started they go on, even if
    the run is over before; a run that needs what comes of them waits for it (`GET /run/tasks/{id}`). A run
    starts at most 40, those of groups counted, and those that it starts may start further ones, whose tasks
    start none.

    The same again is answered with the same ids and starts nothing; two keys have the same done twice.
    """
    access = await run_access(request)
    parts = platform(request)
    form = await read_form(request, SubtasksForm)
    await subtasks.check_depth(parts.log, access.task)
    asked = await _asked(request, access, form)
    digest = hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
    key = digest if form.key is None else f"key {form.key}"
    number = len(form.tasks or []) if form.group is None else len(form.group.tasks)
    drafts = [_draft(access, f"task {key} {place}", *each) for place, each in enumerate(asked)]
    ids = [draft.id for draft in drafts]
    await parts.run_reports.starting(access.run, key, digest, number)
    await parts.dispatch.follow(access.task, *drafts)
    if not await parts.run_tokens.still_good(access):
        # whoever stopped the run may not have seen them
        await parts.dispatch.cancel_branches(access.task, ids, RUN_OVER)
        raise Unauthorized("the run is over, and starts nothing more", code="invalid_token")
    parts.hub.wake(access.user_id)
    return respond({"ids": ids}, 201)


async def get_subtask(request: Request) -> Response:
    """Tell what has become of something that the run started, and wait a while for its end.

    Who waits is answered 401 as soon as the run itself is over or cancelled.
    """
    access = await run_access(request)
    parts = platform(request)
    wait = whole_number(request, "wait", 0, highest=MAX_WAIT_SECONDS)
    now = asyncio.get_running_loop().time
    until = now() + wait
    with parts.hub.reader(access.user_id) as news:
        while True:
            news.clear()
            event = await _own(request, access)
            if event["state"] != "accepted" or now() >= until or parts.stopping:
                return respond(await _shown(request, event))
            with suppress(TimeoutError):
                async with asyncio.timeout(min(LOOK_SECONDS, until - now())):
                    await news.wait()
            if not await parts.run_tokens.still_good(access):
                raise Unauthorized("the run is over", code="invalid_token")


async def _own(request: Request, access: RunAccess) -> EventDocument:
    event = await platform(request).log.get(access.user_id, request.path_params["id"])
    if event is None or event["cause"] != access.task["id"] or not subtasks.is_subtask(event):
        raise NotFound("the run has started nothing of this id", code="no_such_task")
    return event


async def _shown(request: Request, event: EventDocument) -> dict[str, Any]:
    told = None
    if event["state"] != "accepted":
        result = derived_id(event["id"], ENDINGS[event["state"]])
        told = await platform(request).log.get(event["userID"], result)
    return {
        **{name: event[name] for name in ("id", "type", "state")},
        "name": event["metadata"].get("name"),
        "result": None if told is None else told["metadata"],
    }


async def _asked(request: Request, access: RunAccess, form: SubtasksForm) -> list[tuple[str, dict[str, Any]]]:
    """Give the type and metadata of each event to be, with no more than the run has itself."""
    run = access.run
    if "workspace" not in run and access.task["metadata"].get("repo") is not None:
        # the worker may have written it a moment ago
        run = await platform(request).runs.current(access.user_id, run["id"]) or run
    workspace = run.get("workspace")
    repo = None if workspace is None else workspace["repo"]
    parent = access.task["metadata"]

    def bounded(task: TaskMetadata, where: str) -> TaskMetadata:
        try:
            return subtasks.within(parent, repo, task, where)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            pointer = f"{where}/rollback{json_pointer(first['loc'])}"
            message = first["msg"].removeprefix("Value error, ")
            raise InvalidEvent(message, code="invalid_field", pointer=pointer) from None

    if form.group is None:
        tasks = [bounded(task, f"/tasks/{place}") for place, task in enumerate(form.tasks or ())]
        return [(TASK, normal_form(task, f"/tasks/{place}")) for place, task in enumerate(tasks)]
    if form.group.onSuccess or form.group.onFailure:
        message = "nothing follows from a group of a run but its result; the run reads that, and goes on"
        raise InvalidEvent(message, code="subtask_follow_ups", pointer="/group")
    tasks = [bounded(task, f"/group/tasks/{place}") for place, task in enumerate(form.group.tasks)]
    return [(GROUP, normal_form(form.group.model_copy(update={"tasks": tasks}), "/group"))]


def _draft(access: RunAccess, name: str, kind: str, metadata: dict[str, Any]) -> Draft:
    return Draft(
        id=derived_id(access.task["id"], name),
        type=kind,
        source=subtasks.SOURCE,
        metadata=metadata,
        timestamp=now_text(),
        trace=carrier.current() or access.task["trace"],
    )


ROUTES = (
    Operation(
        "POST",
        "/run/tasks",
        post_tasks,
        summary="Start tasks that are a part of what the run does.",
        scope=None,
        for_runs=True,
        tag="run",
        body=SubtasksForm,
        answers={201: SubtasksShown},
        problems={
            403: ("network_not_allowed", "repo_not_allowed"),
            409: ("too_many_subtasks", "too_deep", "id_taken"),
            422: ("subtask_follow_ups", "output_too_large"),
        },
    ),
    Operation(
        "GET",
        "/run/tasks/{id}",
        get_subtask,
        summary="Tell what has become of something that the run started.",
        scope=None,
        for_runs=True,
        tag="run",
        query=Patience,
        answers={200: SubtaskShown},
        problems={404: ("no_such_task",)},
    ),
)
