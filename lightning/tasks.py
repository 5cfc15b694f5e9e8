"""What a task asks for, and what its result says: the metadata of `worker.task` and `worker.task.result`."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

import orjson
from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from lightning.containers.port import MAX_FILES, MAX_FILES_BYTES, check_files
from lightning.errors import Permanent
from lightning.metadata import Metadata, Problem

#: Written as JSON, in bytes. It reaches the run in a variable, of which Linux takes 128 KiB (execve(2)).
MAX_INPUT_BYTES: Final = 64 * 1024

#: Variables of a task, and the bytes of all their names and values.
MAX_VARIABLES: Final = 64
MAX_ENVIRONMENT_BYTES: Final = 32 * 1024

MAX_COMMAND_BYTES: Final = 32 * 1024

#: Events that follow from one end of a task.
MAX_FOLLOW_UPS: Final = 8

#: Among what follows from a task, the one that undoes it.
ROLLBACK: Final = "rollback"

#: And the one that tells how it ended, by the state that the task is in then.
ENDINGS: Final = {"done": "result", "dead": "failure", "cancelled": "cancelled"}

#: Characters of the log's end that a result repeats.
MAX_OUTPUT_CHARS: Final = 8192

#: Every runner takes such a name: Container Instances take none that begins or ends with _.
_VARIABLE: Final = re.compile(r"[A-Za-z]([A-Za-z0-9_]{0,126}[A-Za-z0-9])?", re.ASCII)

#: The platform says itself what these hold in a run.
_RESERVED_PREFIX: Final = "LIGHTNING_"
_RESERVED: Final = frozenset(
    {
        *("TRACEPARENT", "TRACESTATE", "OPENAI_API_KEY", "OPENAI_BASE_URL"),
        *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    }
)

Status = Literal["succeeded", "failed", "timed_out", "out_of_memory", "cancelled"]


def _input(value: Any) -> Any:
    if len(orjson.dumps(value)) > MAX_INPUT_BYTES:
        raise ValueError(f"the input is over {MAX_INPUT_BYTES} bytes")
    return value


def _environment(variables: dict[str, str]) -> dict[str, str]:
    if len(variables) > MAX_VARIABLES:
        raise ValueError(f"there are more than {MAX_VARIABLES} variables")
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name):
            raise ValueError(
                "a variable's name is letters, digits and _ between them, and begins with a letter"
            )
        if name.upper().startswith(_RESERVED_PREFIX) or name.upper() in _RESERVED:
            raise ValueError(f"the platform sets {name} itself; choose another name")
        if "\0" in value:
            raise ValueError(f"the value of {name} holds a zero byte")
    if (
        sum(len(name.encode()) + len(value.encode()) for name, value in variables.items())
        > MAX_ENVIRONMENT_BYTES
    ):
        raise ValueError(f"the variables are over {MAX_ENVIRONMENT_BYTES} bytes together")
    return variables


def _command(words: list[str]) -> list[str]:
    if any("\0" in word for word in words):
        raise ValueError("a word of the command holds a zero byte")
    if sum(len(word.encode()) for word in words) > MAX_COMMAND_BYTES:
        raise ValueError(f"the command is over {MAX_COMMAND_BYTES} bytes")
    return words


def _files(files: dict[str, str]) -> dict[str, str]:
    try:
        check_files({path: text.encode() for path, text in files.items()})
    except Permanent as error:
        raise ValueError(error.message) from None
    return files


def _whole(value: object) -> object:
    """Take 60.0 for the whole number that it is (RFC 8259 knows one kind of number)."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


#: A number without a fraction.
Whole = Annotated[int, BeforeValidator(_whole)]


class Resources(Metadata):
    """What a run may use; more of it is refused, or ends the run."""

    cpu: Annotated[float, Field(ge=0.1, le=4, description="Cores.", examples=[1])] = 1.0
    memoryMiB: Annotated[  # noqa: N815 -- the wire's name
        Whole,
        Field(ge=32, le=16384, description="What all its processes hold together.", examples=[1024]),
    ] = 1024
    diskMiB: Annotated[  # noqa: N815 -- the wire's name
        Whole, Field(ge=1, le=16384, description="What its working directory may hold.", examples=[512])
    ] = 512
    pids: Annotated[
        Whole, Field(ge=1, le=1024, description="Processes and threads at one time.", examples=[128])
    ] = 128


class Budget(Metadata):
    """What a task, and all that follows from it, may spend; what it does not name is as the operator set it.

    Where an event before it brought a budget, the task spends from that one too, and can only have less.
    """

    tokens: Annotated[
        Whole | None,
        Field(
            ge=1, le=10**12, description="Tokens of language models, questions and answers.", examples=[50000]
        ),
    ] = None
    containerSeconds: Annotated[  # noqa: N815 -- the wire's name
        float | None,
        Field(gt=0, le=10**9, description="Seconds that containers run, added up.", examples=[3600]),
    ] = None
    wallSeconds: Annotated[  # noqa: N815 -- the wire's name
        float | None,
        Field(gt=0, le=10**9, description="Seconds from the recording of the task.", examples=[7200]),
    ] = None


class FollowUp(Metadata):
    """An event that follows from the end of a task, as if its user posted it then."""

    type: Annotated[str, Field(description="A type that users may post.", examples=["user.message"])]
    metadata: Annotated[
        dict[str, Any], Field(description="As the type says.", examples=[{"content": "It is done."}])
    ]


class TaskMetadata(Metadata):
    """A run in a container of its own: of an ``agent``, or of a ``command`` in an ``image``."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "oneOf": [{"required": ["agent"]}, {"required": ["image", "command"]}],
            "examples": [{"agent": "echo", "input": {"text": "Hello"}}],
        },
    )

    name: Annotated[
        str | None,
        StringConstraints(pattern=r"^[^\x00-\x1f\x7f]{1,64}$"),
        Field(description="What people are to know it by.", examples=["summary"]),
    ] = None
    agent: Annotated[
        str | None,
        StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$"),
        Field(description="Name of an agent.", examples=["echo"]),
    ] = None
    image: Annotated[
        str | None,
        StringConstraints(min_length=1, max_length=512),
        Field(description="Reference of a container image, instead of an agent."),
    ] = None
    command: Annotated[
        list[Annotated[str, StringConstraints(max_length=MAX_COMMAND_BYTES)]] | None,
        Field(min_length=1, max_length=256, description="Program and arguments, in the image."),
        AfterValidator(lambda words: None if words is None else _command(words)),
    ] = None
    input: Annotated[
        Any,
        AfterValidator(_input),
        Field(description="Any JSON, which the run finds in `LIGHTNING_TASK`.", examples=[{"text": "Hello"}]),
    ] = None
    environment: Annotated[
        dict[str, str],
        AfterValidator(_environment),
        Field(
            default_factory=dict[str, str],
            description="Variables of the run, besides the platform's own.",
            examples=[{"LANG": "C.UTF-8"}],
        ),
    ]
    resources: Annotated[Resources, Field(description="What the run may use.")] = Resources()
    network: Annotated[
        Literal["full", "none"], Field(description="`full` is the internet, `none` no route anywhere.")
    ] = "full"
    timeoutSeconds: Annotated[  # noqa: N815 -- the wire's name
        float,
        Field(ge=1, le=86400, description="After so long the run is ended.", examples=[1800]),
    ] = 1800.0
    budget: Annotated[
        Budget | None, Field(description="What it, and all that follows from it, may spend.")
    ] = None

    files: Annotated[
        dict[str, str],
        AfterValidator(_files),
        Field(
            default_factory=dict[str, str],
            description="Texts by relative path, in the working directory when the command starts: at most "
            f"{MAX_FILES}, of {MAX_FILES_BYTES // 1024} KiB together.",
            examples=[{"data/names.csv": "Ada\n"}],
        ),
    ]
    onSuccess: Annotated[  # noqa: N815 -- the wire's name
        list[FollowUp],
        Field(
            default_factory=list[FollowUp],
            max_length=MAX_FOLLOW_UPS,
            description="What follows when it succeeded, with it as `cause`.",
        ),
    ]
    onFailure: Annotated[  # noqa: N815 -- the wire's name
        list[FollowUp],
        Field(
            default_factory=list[FollowUp],
            max_length=MAX_FOLLOW_UPS,
            description="What follows when it did not succeed, unless somebody cancelled it.",
        ),
    ]
    repo: Annotated[
        str | None,
        StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"),
        Field(
            description="Id or name of one of the user's repositories: the run gets its files, and what it "
            "makes of them becomes one commit.",
            examples=["notes"],
        ),
    ] = None
    rollback: Annotated[
        dict[str, Any] | None,
        Field(
            description="Metadata of a `worker.task` that undoes this one, which follows when this one began "
            "and then failed or was cancelled. It has no `rollback` itself.",
            examples=[{"agent": "echo", "input": "undo"}],
        ),
    ] = None

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.agent is None) == (self.image is None and self.command is None):
            raise ValueError("name an agent, or else an image and a command")
        if self.agent is None and (self.image is None or self.command is None):
            raise ValueError("an image needs a command, and a command an image")
        return self


class TaskResultMetadata(Metadata):
    """How a `worker.task` ended."""

    taskID: Annotated[str, Field(description="Id of the `worker.task`.")]  # noqa: N815 -- the wire's name
    runID: Annotated[str, Field(description="Id of its run.")]  # noqa: N815 -- the wire's name
    status: Annotated[Status, Field(description="How it ended, in a word that never changes.")]
    message: str
    exitCode: Annotated[  # noqa: N815 -- the wire's name
        int | None, Field(description="What the command returned; 128 and the signal where one ended it.")
    ] = None
    output: Annotated[
        str, Field(description="The end of what it printed; all of it is in the run's log.")
    ] = ""
    result: Annotated[Any, Field(description="What the run said itself that came of it: any JSON.")] = None
    outputFrom: Annotated[  # noqa: N815 -- the wire's name
        int, Field(ge=0, description="The characters of the log that come before the output.")
    ] = 0
    waitedSeconds: Annotated[  # noqa: N815 -- the wire's name
        float | None, Field(description="From the task to the start of its command.")
    ] = None
    ranSeconds: Annotated[  # noqa: N815 -- the wire's name
        float | None, Field(description="From the start of its command to its end.")
    ] = None
    error: Problem | None = None
    repo: Annotated[str | None, Field(description="Id of the repository that it worked on.")] = None
    commit: Annotated[str | None, Field(description="What it committed there; null if nothing.")] = None
    rollbackID: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="Id of the `worker.task` that undoes it, where one follows.")
    ] = None


def works_on_repository(kind: str, asked: Mapping[str, Any]) -> bool:
    """Tell whether an event has a run work on a repository, itself or by what is to follow from it.

    Parameters:
      kind: The type of the event.
      asked: Its metadata.
    """
    if kind not in {"worker.task", "worker.group"}:
        return False
    followed = [each for name in ("onSuccess", "onFailure") for each in asked.get(name) or ()]
    further = [(each["type"], each["metadata"]) for each in followed]
    further += [("worker.task", each) for each in asked.get("tasks") or ()]
    if asked.get("rollback") is not None:
        further.append((kind, asked["rollback"]))
    return asked.get("repo") is not None or any(works_on_repository(*each) for each in further)


def told(task_id: str, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a run is told of its task, in `LIGHTNING_TASK` and by the run API.

    Parameters:
      task_id: Id of the `worker.task`.
      asked: Its metadata.
    """
    return {"id": task_id, **{name: asked.get(name) for name in ("agent", "input", "repo")}}
