"""The script of the emulated model: which request is answered how."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter

from ops.emulators.openai.request import ChatRequest

Count = Annotated[int, Field(ge=0)]
Duration = Annotated[float, Field(ge=0)]
Texts = tuple[str, ...]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ScriptedToolCall(_Strict):
    """A tool call that a step answers with; ``arguments`` is JSON, or a text sent as it is."""

    name: str
    arguments: JsonValue = Field(default_factory=dict)
    id: str | None = None


class ScriptedUsage(_Strict):
    """The usage that a step reports instead of the counted words."""

    prompt_tokens: Count
    completion_tokens: Count


class Step(_Strict):
    """One rule of a script: what it matches, what it demands and how it answers.

    Chunks are counted over the text's pieces, then the tool calls'; a position beyond the last
    one means: after the last, before the finish reason.
    """

    # What it matches; everything that is given must hold.
    contains: Texts = ()  #: texts that are all found in the messages
    last_contains: Texts = ()  #: texts that are all found in the last user message
    model: str | None = None
    over_words: Count | None = None  #: the messages have more words than this
    times: Annotated[int, Field(ge=1)] | None = None  #: how often it applies; None: always

    # What it demands: a matching request without these texts is answered with 422.
    require: Texts = ()
    require_headers: dict[str, str] = Field(default_factory=dict)  #: without them it is 401

    # How it answers. Without a reply or tool calls: "You said: <last user message>".
    reply: str | None = None
    tool_calls: tuple[ScriptedToolCall, ...] = ()
    finish_reason: str | None = None  #: None: "tool_calls" with tool calls, else "stop"
    usage: ScriptedUsage | Literal[False] | None = None  #: None: words are counted; false: none is reported
    chunks: Annotated[int, Field(ge=1)] = 4  #: pieces of the text
    delay_ms: Duration = 0  #: before each chunk but the first
    raw: str | None = None  #: the stream's exact text, instead of all the above

    # How it fails.
    status: Annotated[int, Field(ge=200, le=599)] = 200
    headers: dict[str, str] = Field(default_factory=dict)
    error: JsonValue = None  #: the error object, or only its message
    cut_after: Count | None = None  #: chunks until the connection is dropped
    hang_seconds: Duration = 0
    hang_after: Count = 0  #: chunks until it hangs; 0: before the answer's head
    hold: bool = False  #: wait until `POST /control/release`
    hold_after: Count | tuple[Count, ...] = (
        1  #: chunks until it holds, each time; 0: before the answer's head
    )

    def matches(self, request: ChatRequest) -> bool:
        """Say whether the request is this step's."""
        return (
            (self.model is None or self.model == request.model)
            and (self.over_words is None or len(request.text.split()) > self.over_words)
            and all(text in request.text for text in self.contains)
            and all(text in request.last_user_message for text in self.last_contains)
        )

    def holds(self, sent: int, total: int) -> bool:
        """Say whether it holds after so many chunks of all."""
        places = (self.hold_after,) if isinstance(self.hold_after, int) else self.hold_after
        return self.hold and sent in {min(place, total) for place in places}

    def missing(self, request: ChatRequest) -> list[str]:
        """Give the demanded texts that the request lacks."""
        return [text for text in self.require if text not in request.text]


@dataclass(frozen=True, slots=True)
class Choice:
    """The step that a request met.

    Parameters:
      number: Its place in the script, from 0; None for the default.
      step: The step.
      missing: What the step demands and the request lacks.
    """

    number: int | None
    step: Step
    missing: list[str]


_STEPS: TypeAdapter[tuple[Step, ...]] = TypeAdapter(tuple[Step, ...])
_DEFAULT = Step()


class Script:
    """Steps in order; the first that matches and is not used up applies, else the default echo.

    Parameters:
      steps: As in a script file: a list of objects with the fields of `Step`.

    Raises:
      ValueError: A step has an unknown field or a wrong value; the text says which.
    """

    def __init__(self, steps: Sequence[object] = ()) -> None:
        self.steps = _STEPS.validate_python(steps)
        self._applied = [0] * len(self.steps)

    def choose(self, request: ChatRequest) -> Choice:
        """Give the step for a request, and count it; a step whose demand is not met is not used up."""
        for number, step in enumerate(self.steps):
            used_up = step.times is not None and self._applied[number] >= step.times
            if used_up or not step.matches(request):
                continue
            missing = step.missing(request)
            if not missing:
                self._applied[number] += 1
            return Choice(number=number, step=step, missing=missing)
        return Choice(number=None, step=_DEFAULT, missing=[])
