"""What a run says of itself: how far it has come, what it measures, and what came of it."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import platform, respond
from api.run_api.access import in_its_trace, read_form, run_access
from lightning.live import RunProgress

#: What came of a run, written as JSON, in bytes.
MAX_RESULT_BYTES = 64 * 1024


def _bounded(value: Any) -> Any:
    if len(orjson.dumps(value)) > MAX_RESULT_BYTES:
        raise ValueError(f"the output is over {MAX_RESULT_BYTES} bytes; print it, or keep it elsewhere")
    return value


_Text = Annotated[str, StringConstraints(min_length=1, max_length=500)]
_Number = Annotated[float, Field(allow_inf_nan=False)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ProgressForm(_Form):
    """How far a run has come."""

    message: Annotated[_Text, Field(examples=["Read 3 of 12 files"])]
    percent: Annotated[float | None, Field(ge=0, le=100, examples=[25])] = None


class MetricForm(_Form):
    """The value of something that a run measures; a later one of the same name takes its place."""

    name: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,63}$"), Field(examples=["files"])
    ]
    value: Annotated[_Number, Field(examples=[12])]
    unit: Annotated[str | None, StringConstraints(max_length=32), Field(examples=["1"])] = None


class ResultForm(_Form):
    """What came of a run; a later one takes its place, until the run is over."""

    output: Annotated[Any, AfterValidator(_bounded), Field(description="Any JSON.", examples=[{"files": 12}])]
    message: Annotated[_Text | None, Field(description="The same for a person.", examples=["12 files"])] = (
        None
    )


class ProgressShown(BaseModel):
    """How far a run has come, as it says itself."""

    at: Annotated[str, Field(description="When it said so (RFC 3339).")]
    message: str
    percent: Annotated[float | None, Field(examples=[25])]


class MetricShown(BaseModel):
    """The latest value of something that a run measures."""

    at: Annotated[str, Field(description="When it said so (RFC 3339).")]
    name: str
    value: float
    unit: str | None


class ResultShown(BaseModel):
    """What came of a run, as it says itself."""

    at: Annotated[str, Field(description="When it said so (RFC 3339).")]
    output: Any
    message: str | None


async def post_progress(request: Request) -> Response:
    """Say how far the run has come.

    Open streams of its user at this ingress get it at once, others when a worker looks at the run, which is
    within a second or so; the latest 20 stand with the run.
    """
    access = await run_access(request)
    parts = platform(request)
    form = await read_form(request, ProgressForm)
    noted = await parts.run_reports.progress(access.run, form.message, form.percent)
    parts.hub.tell(access.user_id, [RunProgress(run=access.run["id"], task=access.task["id"], **noted)])
    return respond(noted)


async def post_metric(request: Request) -> Response:
    """Say what the run has measured; the latest value of up to 100 names stands with the run."""
    access = await run_access(request)
    form = await read_form(request, MetricForm)
    return respond(await platform(request).run_reports.metric(access.run, form.name, form.value, form.unit))


async def post_result(request: Request) -> Response:
    """Say what came of the run.

    It stands with the run, and in the `worker.task.result` that follows when the command has ended, which
    is looked for at once.
    """
    access = await run_access(request)
    parts = platform(request)
    form = await read_form(request, ResultForm)
    is_first = (await parts.run_reports.read(access.run))["result"] is None
    noted = await parts.run_reports.result(access.run, form.output, form.message)
    if is_first:  # every look costs something, and a run may say as many as it likes
        with in_its_trace(access):
            await parts.dispatch.hasten(access.user_id, access.task["id"])
    return respond(noted)


ROUTES = (
    Operation(
        "POST",
        "/run/progress",
        post_progress,
        summary="Say how far the run has come.",
        scope=None,
        for_runs=True,
        tag="run",
        body=ProgressForm,
        answers={200: ProgressShown},
    ),
    Operation(
        "POST",
        "/run/metrics",
        post_metric,
        summary="Say what the run has measured.",
        scope=None,
        for_runs=True,
        tag="run",
        body=MetricForm,
        answers={200: MetricShown},
        problems={409: ("too_many_metrics",)},
    ),
    Operation(
        "POST",
        "/run/result",
        post_result,
        summary="Say what came of the run.",
        scope=None,
        for_runs=True,
        tag="run",
        body=ResultForm,
        answers={200: ResultShown},
    ),
)
