"""Tools that start runs and look at them."""

from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import Field, StringConstraints, ValidationError

from lightning.domain.runs import RunDocument
from lightning.groups import GroupMetadata
from lightning.metadata import Metadata
from lightning.tasks import TaskMetadata
from lightning.tools.offer import bounded
from lightning.tools.port import Acted, Asked, Call, Effect, InvalidCall, Policy, Scope, Tool

#: Of one run that a model starts.
MAX_RUN_SECONDS: Final = 3600

#: Runs that a model starts by one call.
MAX_TOGETHER: Final = 16

M = TypeVar("M", bound=Metadata)


class Work(Metadata):
    """Which agent, and what it is to do. What it may reach and spend is the conversation's affair."""

    agent: Annotated[
        str,
        StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$"),
        Field(description="Name of the agent, such as echo or openai_shell."),
    ]
    input: Annotated[Any, Field(description="What it is to do: text, or any JSON that the agent takes.")] = (
        None
    )
    onRepository: Annotated[  # noqa: N815 -- the wire's name
        bool,
        Field(description="Whether it gets the files of the repository, and commits what it makes of them."),
    ] = False
    timeoutSeconds: Annotated[  # noqa: N815 -- the wire's name
        int, Field(ge=1, le=MAX_RUN_SECONDS, description="After so long it is ended.")
    ] = 1800


class RunAgentArguments(Work):
    """Which agent, what it is to do, and what undoes it."""

    undo: Annotated[
        Work | None,
        Field(description="Run when this one fails after it began, or another of its group: it undoes this."),
    ] = None


class NamedWork(RunAgentArguments):
    """One of several."""

    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=64),
        Field(description="What it is called in the results, such as `collect`."),
    ]


class RunAgentsArguments(Metadata):
    """Several agents that belong together."""

    agents: Annotated[
        list[NamedWork],
        Field(
            min_length=2, max_length=MAX_TOGETHER, description="They run side by side; no two have one name."
        ),
    ]


class ListRunsArguments(Metadata):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=20)] = 10


class RunAgent(Tool):
    """Runs an agent in a container."""

    name: ClassVar[str] = "run_agent"
    description: ClassVar[str] = (
        "Run an agent in a container of its own, and get its result. Several calls in one reply run together."
    )
    arguments: ClassVar[type[Metadata]] = RunAgentArguments
    effect: ClassVar[Effect] = "event"
    policy: ClassVar[Policy] = "first"
    scope: ClassVar[str] = "events:write"

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Have a task follow, and wait for its result; see `Tool.act`."""
        task = {**_task(arguments, call.scope), "budget": call.scope.budget}
        return Acted(event=Asked("worker.task", _read(TaskMetadata, task)), waits=True)


class RunAgents(Tool):
    """Runs agents that succeed together, or are undone together."""

    name: ClassVar[str] = "run_agents"
    description: ClassVar[str] = (
        "Run several agents side by side, each in a container of its own, and get all results at once. When"
        " one fails, the others are ended, and what was done is undone by `undo`, the last first."
    )
    arguments: ClassVar[type[Metadata]] = RunAgentsArguments
    effect: ClassVar[Effect] = "event"
    policy: ClassVar[Policy] = "first"
    scope: ClassVar[str] = "events:write"

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Have a group of tasks follow, and wait for its result; see `Tool.act`."""
        asked: RunAgentsArguments = arguments
        tasks = [{**_task(each, call.scope), "name": each.name} for each in asked.agents]
        group = _read(GroupMetadata, {"tasks": tasks, "budget": call.scope.budget})
        return Acted(event=Asked("worker.group", group), waits=True)


class ListRuns(Tool):
    """Lists runs."""

    name: ClassVar[str] = "list_runs"
    description: ClassVar[str] = "List the latest runs of agents, and what became of them."
    arguments: ClassVar[type[Metadata]] = ListRunsArguments
    effect: ClassVar[Effect] = "nothing"
    policy: ClassVar[Policy] = "never"
    scope: ClassVar[str] = "events:read"

    async def act(self, call: Call, arguments: Any) -> Acted:
        """Give the latest runs; see `Tool.act`."""
        asked: ListRunsArguments = arguments
        page = await call.parts.runs.newest(call.scope.user_id, limit=asked.limit)
        return Acted(bounded([_shown(run) for run in page.runs]))


def _task(asked: Work, scope: Scope) -> dict[str, Any]:
    """Give a task with what the conversation lets it reach; what it may spend is not in it."""
    if asked.onRepository and scope.repo is None:
        raise InvalidCall("this conversation has no repository; leave onRepository out")
    task = {
        "agent": asked.agent,
        "input": asked.input,
        "network": scope.network,
        "timeoutSeconds": float(asked.timeoutSeconds),
        "repo": scope.repo if asked.onRepository else None,
    }
    undo = asked.undo if isinstance(asked, RunAgentArguments) else None
    return task if undo is None else {**task, "rollback": _task(undo, scope)}


def _read(model: type[M], value: dict[str, Any]) -> M:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        raise InvalidCall(first["msg"].removeprefix("Value error, ")) from None


def _shown(run: RunDocument) -> dict[str, Any]:
    outcome = run["outcome"]
    return {
        "id": run["id"],
        "agent": run["agent"] or run["image"],
        "createdAt": run["createdAt"],
        "state": run["stage"] if outcome is None else outcome["status"],
        "message": None if outcome is None else outcome["message"],
    }
