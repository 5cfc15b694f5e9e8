"""`/run`: what the code in a container may ask, with the token of its run."""

from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import respond
from api.run_api.access import run_access
from lightning.tasks import told


class TaskTold(BaseModel):
    """What a run is for; `LIGHTNING_TASK` holds the same."""

    id: Annotated[str, Field(description="Id of its `worker.task`.")]
    agent: Annotated[str | None, Field(description="The agent that runs.", examples=["echo"])]
    input: Annotated[Any, Field(description="Any JSON.", examples=[{"text": "Hello"}])]
    repo: Annotated[
        str | None, Field(description="The repository that is its workspace.", examples=["notes"])
    ]


async def get_task(request: Request) -> Response:
    """Tell a run what it is for."""
    access = await run_access(request)
    return respond(told(access.task["id"], access.task["metadata"]))


ROUTES = (
    Operation(
        "GET",
        "/run/task",
        get_task,
        summary="Tell a run what it is for.",
        scope=None,
        for_runs=True,
        tag="run",
        answers={200: TaskTold},
    ),
)
