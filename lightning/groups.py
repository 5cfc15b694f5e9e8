"""Groups of tasks that are joined: the metadata of `worker.group` and `worker.group.result`."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import ConfigDict, Field, model_validator

from lightning.ids import derived_id
from lightning.metadata import Metadata, Problem
from lightning.tasks import MAX_FOLLOW_UPS, Budget, FollowUp, Status, TaskMetadata, Whole

#: Tasks of one group: with what else a step writes, they fit into one batch.
MAX_TASKS: Final = 40

#: Tasks of a group that go on at one time, unless it says otherwise.
AT_MOST: Final = 8

#: What came of a task is repeated in the group's result up to so many bytes of JSON.
MAX_RESULT_BYTES: Final = 8192

#: Characters that the group's result repeats of what is said of a task.
MAX_MESSAGE_CHARS: Final = 500

MemberStatus = Status | Literal["not_started"]

#: What is said of a task that was not started.
NOT_STARTED: Final[tuple[MemberStatus, str]] = ("not_started", "It was not started.")


class GroupMetadata(Metadata):
    """Tasks that are run side by side and joined: one result tells of all, and one that fails undoes them."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"tasks": [{"name": "one", "agent": "echo", "input": 1}, {"name": "two", "agent": "echo"}]}
            ]
        },
    )

    tasks: Annotated[
        list[TaskMetadata],
        Field(
            min_length=1,
            max_length=MAX_TASKS,
            description="Each as a `worker.task`, in the order in which they start. No two have one name.",
        ),
    ]
    atMost: Annotated[  # noqa: N815 -- the wire's name
        Whole,
        Field(ge=1, le=MAX_TASKS, description="So many of them go on at one time.", examples=[4]),
    ] = AT_MOST
    cancelOthers: Annotated[  # noqa: N815 -- the wire's name
        bool,
        Field(description="Whether those that go on are cancelled when one fails, or come to their end."),
    ] = True
    budget: Annotated[
        Budget | None, Field(description="What all of them together, and all that follows, may spend.")
    ] = None
    onSuccess: Annotated[  # noqa: N815 -- the wire's name
        list[FollowUp],
        Field(
            default_factory=list[FollowUp],
            max_length=MAX_FOLLOW_UPS,
            description="What follows when all succeeded, with the group as `cause`.",
        ),
    ]
    onFailure: Annotated[  # noqa: N815 -- the wire's name
        list[FollowUp],
        Field(
            default_factory=list[FollowUp],
            max_length=MAX_FOLLOW_UPS,
            description="What follows when one did not succeed, unless somebody cancelled the group.",
        ),
    ]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = [name_of(place, task.name) for place, task in enumerate(self.tasks)]
        if len(set(names)) < len(names):
            raise ValueError("two tasks of the group have one name")
        return self


class MemberResult(Metadata):
    """What became of one task of a group."""

    name: str
    taskID: Annotated[str, Field(description="Id of its `worker.task`.")]  # noqa: N815 -- the wire's name
    status: Annotated[MemberStatus, Field(description="How it ended, in a word that never changes.")]
    message: str
    result: Annotated[Any, Field(description="What the run said itself that came of it: any JSON.")] = None
    resultOmitted: Annotated[  # noqa: N815 -- the wire's name
        bool,
        Field(description=f"Whether it is over {MAX_RESULT_BYTES} bytes, and stands with the task."),
    ] = False
    rollbackID: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="Id of the `worker.task` that undid it, where one ran.")
    ] = None
    rollback: Annotated[
        Status | None, Field(description="How that ended; null where nothing was undone.")
    ] = None


class GroupResultMetadata(Metadata):
    """How a `worker.group` ended."""

    groupID: Annotated[str, Field(description="Id of the `worker.group`.")]  # noqa: N815 -- the wire's name
    status: Annotated[
        Literal["succeeded", "failed", "cancelled"],
        Field(description="How it ended, in a word that never changes."),
    ]
    message: str
    results: Annotated[list[MemberResult], Field(description="Of each task, in the order of the group.")]
    error: Problem | None = None


def name_of(place: int, name: str | None) -> str:
    """Give what a task of a group is called: as it says, or by its place, which counts from 0."""
    return name or f"task-{place + 1}"


def member_id(group_id: str, place: int) -> str:
    """Give the id of the task at a place of a group, which counts from 0."""
    return derived_id(group_id, member_output(place))


def member_output(place: int) -> str:
    """Name a task among the outputs of its group."""
    return f"task.{place}"


def undo_output(place: int) -> str:
    """Name what undoes a task among the outputs of its group."""
    return f"rollback.{place}"


def member_result(
    name: str, task_id: str, told: Mapping[str, Any] | None, *, otherwise: tuple[MemberStatus, str]
) -> MemberResult:
    """Say what became of a task.

    Parameters:
      name: What it is called.
      task_id: Its id.
      told: What its `worker.task.result` says, if there is one.
      otherwise: Its status, and words for a person, where there is none.
    """
    status, message = otherwise if told is None else (told["status"], told["message"])
    came = None if told is None else told.get("result")
    omitted = len(orjson.dumps(came)) > MAX_RESULT_BYTES
    return MemberResult(
        name=name,
        taskID=task_id,
        status=status,
        message=message[:MAX_MESSAGE_CHARS],
        result=None if omitted else came,
        resultOmitted=omitted,
    )


def listed(names: Sequence[str], most: int = 5) -> str:
    """List names for a person, the first ones of many."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
