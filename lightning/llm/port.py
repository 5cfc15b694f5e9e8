"""What Lightning asks of a language model: one streaming call, with tools, usage and a finish reason."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the model asks for.

    Parameters:
      id: The provider's name for this call; the message with its result refers to it.
      name: The tool's name, as offered in a `ToolSpec`.
      arguments: JSON text as the model wrote it. It may be invalid: parse it with care.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """One message of the conversation that the model is shown.

    Parameters:
      role: Who speaks.
      content: Plain text; empty when an assistant only called tools.
      tool_calls: For ``assistant``: the calls made in this message.
      tool_call_id: For ``tool``: the call whose result this is.
    """

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call.

    Parameters:
      name: Up to 64 characters of ``a-z A-Z 0-9 _ -``.
      description: When to use it, for the model.
      parameters: JSON Schema (an object) of the arguments.
      strict: Whether the arguments must fit the schema; None leaves it to the provider.
    """

    name: str
    description: str
    parameters: Mapping[str, object]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class NamedTool:
    """The one tool that the model must call."""

    name: str


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is to answer; what is None is left to the model.

    The names are those of OpenAI's chat completions, which say what each means.

    Parameters:
      max_tokens: The answer's limit, under the name that older servers know.
      max_completion_tokens: The answer's limit, what the model thinks included.
      temperature: 0 to 2.
      top_p: Over 0, up to 1.
      frequency_penalty: -2 to 2.
      presence_penalty: -2 to 2.
      stop: Texts before which the answer ends.
      seed: For answers that repeat.
      tool_choice: Whether tools may or must be called, or which.
      parallel_tool_calls: Whether one answer may call several.
      response_format: ``text``, ``json_object`` or ``json_schema`` as an object of the protocol.
      reasoning_effort: The provider's word.
    """

    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Mapping[str, object] | None = None
    reasoning_effort: str | None = None

    @property
    def limit(self) -> int | None:
        """The answer's limit in tokens, under whichever name."""
        given = [each for each in (self.max_tokens, self.max_completion_tokens) if each is not None]
        return min(given, default=None)


#: Everything is left to the model.
DEFAULT: Final = Options()


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call cost, in the provider's tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """The next piece of a call of a tool; all pieces of one number, joined, are the call.

    Parameters:
      number: Its place among the calls of the answer, from 0.
      id: Its id, with the first piece; empty afterwards.
      name: A piece of the tool's name.
      arguments: A piece of the arguments.
    """

    number: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Completion:
    """The whole answer.

    Parameters:
      content: All text deltas, joined.
      model: The model that answered, as the provider names it.
      usage: None when the provider did not say; zeros would be a lie.
      finish_reason: ``stop``, ``length``, ``tool_calls``, ``content_filter`` or the provider's own word.
      tool_calls: The tools that the model wants called, in its order.
    """

    content: str
    model: str
    usage: Usage | None
    finish_reason: str
    tool_calls: tuple[ToolCall, ...] = ()


#: What a model hands on.
Piece: TypeAlias = TextDelta | ToolCallDelta | Completion


class LanguageModel(Protocol):
    """A chat model behind one provider.

    An instance belongs to the event loop that first uses it, and serves many calls at once.

    Parameters:
      provider: ``openai``, ``azure.ai.openai`` or ``echo``; the value of ``gen_ai.provider.name``.
      model: The model that is asked when a call names none.
    """

    provider: str
    model: str

    def stream(
        self,
        messages: Sequence[ChatMessage],
        *,
        model: str | None = None,
        tools: Sequence[ToolSpec] = (),
        options: Options = DEFAULT,
    ) -> AsyncGenerator[Piece, None]:
        """Ask the model, and hand on its answer while it is written.

        A consumer that may stop early wraps this in `contextlib.aclosing`, which hangs up at once.

        Parameters:
          messages: The conversation, oldest first.
          model: Another model of the same provider, for this call.
          tools: What the model may call.
          options: How it is to answer.

        Returns:
          Pieces of the text and of calls of tools as they come, then exactly one `Completion`, last.

        Raises:
          Transient: ``model_rate_limited``, ``model_timeout``, ``model_unreachable``,
            ``model_unavailable``, ``model_identity_unavailable`` or ``model_stream_cut``; deltas already
            given are void.
          Permanent: ``model_quota_exhausted``, ``model_credentials_refused``, ``context_too_long`` or
            ``model_refused``.
        """
        ...

    async def close(self) -> None:
        """Give back connections; streams still open fail."""
        ...
