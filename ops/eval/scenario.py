"""A scenario: a task, what must come of it, and perhaps what a scripted model answers. One TOML file each."""

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from ops.emulators.openai import Step

#: What comes with the platform.
SHIPPED: Final = Path(__file__).with_name("scenarios")

#: A scenario may take so long, unless its `task` says otherwise.
USUAL_SECONDS: Final = 300.0


class ScenarioError(Exception):
    """A scenario cannot be read; the message says which, and what is wrong."""


def _pattern(text: str) -> str:
    try:
        re.compile(text, re.MULTILINE)
    except re.error as error:
        raise ValueError(f"it is no regular expression: {error}") from None
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FileExpected(_Strict):
    """What must be true of one file of the repository after the run; all that is given."""

    exact: str | None = None
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    matches: Pattern | None = None  #: found somewhere in it; ^ and $ are those of a line
    json_equals: Any = None  #: the same JSON, however it is written
    unchanged: bool = False
    absent: bool = False

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("say what is expected of the file")
        if self.absent and len(self.model_fields_set) > 1:
            raise ValueError("of a file that is absent nothing else can be expected")
        return self


class Expected(_Strict):
    """What must be true after the run; all that is given."""

    status: str = "succeeded"  #: of the `worker.task.result`
    outcome: str | None = None  #: the word by which the shell agent says how it ended
    answer: tuple[Pattern, ...] = ()  #: each is found in what the run says that came of it
    files: dict[str, FileExpected] = Field(default_factory=dict[str, FileExpected])
    only: bool = False  #: no file is changed, made or deleted but those named in `files`
    committed: bool | None = None
    events: tuple[str, ...] = ()  #: types of events that follow from the task
    log_contains: tuple[str, ...] = ()
    log_lacks: tuple[Pattern, ...] = ()
    max_commands: int | None = None
    max_tokens: int | None = None
    max_seconds: float | None = None
    max_cost: float | None = None  #: judged where prices are given


class Scenario(_Strict):
    """A scenario.

    ``task`` holds further fields of the `worker.task`, such as ``budget``; ``script`` the steps of the
    scripted model, each of which applies once, in their order, to requests that hold the prompt.
    """

    name: str
    title: str
    prompt: Annotated[str, Field(min_length=1)]
    agent: str = "openai_shell"
    files: dict[str, str] = Field(default_factory=dict[str, str])
    task: dict[str, Any] = Field(default_factory=dict[str, Any])
    expect: Expected
    script: tuple[Step, ...] = ()

    @property
    def timeout_seconds(self) -> float:
        """How long the run may take."""
        return float(self.task.get("timeoutSeconds", USUAL_SECONDS))

    def steps(self) -> list[dict[str, Any]]:
        """Give its steps of the scripted model, behind which every further request fails."""
        mine = {"contains": (self.prompt,)}
        given = [
            {
                **step.model_dump(exclude_unset=True),
                "contains": (self.prompt, *step.contains),
                "times": step.times or 1,
            }
            for step in self.script
        ]
        return [*given, {**mine, "status": 400, "error": f"The script of {self.name} has no step for this."}]


def read(place: Path) -> list[Scenario]:
    """Read a scenario, or those of a folder, in the order of their names.

    Raises:
      ScenarioError: There is none, or one cannot be read.
    """
    paths = sorted(place.glob("*.toml")) if place.is_dir() else [place]
    if not paths:
        raise ScenarioError(f"{place} holds no scenario; each is a file NAME.toml")
    scenarios = [_read(path) for path in paths]
    _check_prompts(scenarios)
    return scenarios


def _read(path: Path) -> Scenario:
    try:
        return Scenario.model_validate({"name": path.stem, **tomllib.loads(path.read_text())})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ScenarioError(f"{path} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ScenarioError(f"{path}, {where or 'as a whole'}: {first['msg']}") from error


def _check_prompts(scenarios: Sequence[Scenario]) -> None:
    """Refuse prompts that the scripted model could not tell apart."""
    for one in scenarios:
        for other in scenarios:
            if one is not other and one.prompt in other.prompt:
                raise ScenarioError(f"{one.name} and {other.name} begin alike; let their prompts differ")


def same_json(text: str, value: Any) -> bool:
    """Tell whether a text is JSON of a value."""
    try:
        return json.loads(text) == value
    except ValueError:
        return False
