"""What a chat completion may ask for: OpenAI's request, and the same in the words of our port.

https://platform.openai.com/docs/api-reference/chat/create. What the port cannot do is refused by name; a
parameter that asks for what happens anyway is taken.
"""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lightning.errors import InvalidRequest, json_pointer
from lightning.llm import ChatMessage, NamedTool, Options, ToolCall, ToolSpec

_MOST_TOKENS = 10_000_000

_TOOL_NAME = r"^[a-zA-Z0-9_-]{1,64}$"

_Name = Annotated[str, Field(pattern=_TOOL_NAME, examples=["look_up"])]
_Tokens = Annotated[int, Field(ge=1, le=_MOST_TOKENS)]
_Penalty = Annotated[float, Field(ge=-2, le=2)]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class TextPart(_Form):
    """A piece of a message's text; other kinds of pieces are not taken."""

    type: Literal["text"]
    text: str


_Content = str | list[TextPart]


class CalledFunction(_Form):
    """The function of a call, with its arguments as JSON text."""

    name: str
    arguments: str


class MadeCall(_Form):
    """A tool call that the model made before."""

    id: str
    type: Literal["function"] = "function"
    function: CalledFunction


class SystemMessage(_Form):
    """What the developer says; the older word for it is ``system``."""

    role: Literal["system", "developer"]
    content: _Content

    def said(self) -> ChatMessage:
        """Give it in the words of the port."""
        return ChatMessage("system", _text(self.content))


class UserMessage(_Form):
    """What the user says."""

    role: Literal["user"]
    content: _Content

    def said(self) -> ChatMessage:
        """Give it in the words of the port."""
        return ChatMessage("user", _text(self.content))


class AssistantMessage(_Form):
    """What the model said, as it was answered before."""

    role: Literal["assistant"]
    content: _Content | None = None
    refusal: str | None = None
    tool_calls: list[MadeCall] | None = None

    def said(self) -> ChatMessage:
        """Give it in the words of the port."""
        calls = tuple(
            ToolCall(call.id, call.function.name, call.function.arguments) for call in self.tool_calls or ()
        )
        return ChatMessage("assistant", _text(self.content) + (self.refusal or ""), tool_calls=calls)


class ToolMessage(_Form):
    """What a tool gave."""

    role: Literal["tool"]
    content: _Content
    tool_call_id: str

    def said(self) -> ChatMessage:
        """Give it in the words of the port."""
        return ChatMessage("tool", _text(self.content), tool_call_id=self.tool_call_id)


_Message = Annotated[
    SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class OfferedFunction(_Form):
    """A function; ``parameters`` is the JSON Schema of its arguments."""

    name: _Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class OfferedTool(_Form):
    """A tool that the model may call."""

    type: Literal["function"]
    function: OfferedFunction

    def offered(self) -> ToolSpec:
        """Give it in the words of the port."""
        asked = self.function
        schema = asked.parameters or {"type": "object", "properties": {}}
        return ToolSpec(asked.name, asked.description or "", schema, asked.strict)


class FunctionName(_Form):
    """A function by its name."""

    name: _Name


class ToolNamed(_Form):
    """The tool that must be called."""

    type: Literal["function"]
    function: FunctionName


class ResponseFormat(_Form):
    """In which form the model answers."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: dict[str, Any] | None = None


class StreamOptions(_Form):
    """What a stream has besides the answer."""

    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class CompletionAsked(_Form):
    """A conversation, and how it is to be continued."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "examples": [
                {"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": "What is new?"}]}
            ]
        },
    )

    model: Annotated[str, Field(description="One of `GET /v1/models`.", max_length=256)]
    messages: Annotated[list[_Message], Field(min_length=1, description="Oldest first.")]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Tokens | None = None
    max_completion_tokens: _Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    frequency_penalty: _Penalty | None = None
    presence_penalty: _Penalty | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), lt=2**63)] | None = None
    tools: Annotated[list[OfferedTool], Field(max_length=128)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolNamed | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: Annotated[str, Field(max_length=32)] | None = None
    n: Literal[1] | None = None
    logprobs: Literal[False] | None = None
    store: Literal[False] | None = None

    def said(self) -> list[ChatMessage]:
        """Give the conversation in the words of the port."""
        return [message.said() for message in self.messages]

    def offered(self) -> list[ToolSpec]:
        """Give the tools in the words of the port."""
        return [tool.offered() for tool in self.tools or ()]

    def options(self) -> Options:
        """Say in the words of the port how it is to be answered."""
        choice, form = self.tool_choice, self.response_format
        return Options(
            max_tokens=self.max_tokens,
            max_completion_tokens=self.max_completion_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            frequency_penalty=self.frequency_penalty,
            presence_penalty=self.presence_penalty,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            seed=self.seed,
            tool_choice=NamedTool(choice.function.name) if isinstance(choice, ToolNamed) else choice,
            parallel_tool_calls=self.parallel_tool_calls,
            response_format=None if form is None else form.model_dump(exclude_none=True),
            reasoning_effort=self.reasoning_effort,
        )


Form = TypeVar("Form", bound=BaseModel)


def read(form: type[Form], raw: object) -> Form:
    """Read a body as OpenAI's servers do, which answer 400 to every wrong field.

    Raises:
      InvalidRequest: ``unsupported_parameter``: it asks for what is not done here; or ``invalid_parameter``.
    """
    try:
        return form.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    pointer = json_pointer(first["loc"])
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        message = f"Unsupported parameter: '{where}' is not one that this gateway can honour; leave it out."
        raise InvalidRequest(message, code="unsupported_parameter", pointer=pointer)
    raise InvalidRequest(f"Invalid '{where}': {first['msg']}.", code="invalid_parameter", pointer=pointer)


def _text(content: _Content | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)
