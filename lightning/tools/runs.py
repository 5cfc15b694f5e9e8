"""Tools that start runs and look at them."""

from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, StringConstraints, ValidationError

from lightning.domain.runs import RunDocument
from lightning.metadata import Metadata
from lightning.tasks import TaskMetadata
from lightning.tools.offer import bounded
from lightning.tools.port import Acted, Asked, Call, Effect, InvalidCall, Policy, Tool

#: Of one run that a model starts.
MAX_RUN_SECONDS: Final = 3600


class RunAgentArguments(Metadata):
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
        asked: RunAgentArguments = arguments
        scope = call.scope
        if asked.onRepository and scope.repo is None:
            raise InvalidCall("this conversation has no repository; leave onRepository out")
        try:
            task = TaskMetadata.model_validate(
                {
                    "agent": asked.agent,
                    "input": asked.input,
                    "network": scope.network,
                    "timeoutSeconds": float(asked.timeoutSeconds),
                    "budget": scope.budget,
                    "repo": scope.repo if asked.onRepository else None,
                }
            )
        except ValidationError as error:
            raise InvalidCall(error.errors(include_url=False, include_context=False)[0]["msg"]) from None
        return Acted(event=Asked("worker.task", task), waits=True)


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


def _shown(run: RunDocument) -> dict[str, Any]:
    outcome = run["outcome"]
    return {
        "id": run["id"],
        "agent": run["agent"] or run["image"],
        "createdAt": run["createdAt"],
        "state": run["stage"] if outcome is None else outcome["status"],
        "message": None if outcome is None else outcome["message"],
    }
