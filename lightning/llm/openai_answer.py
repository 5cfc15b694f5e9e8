"""Puts together an answer from the chunks of an OpenAI stream."""

from dataclasses import dataclass, field

from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import ChoiceDelta, ChoiceDeltaToolCall

from lightning.llm.port import Completion, TextDelta, ToolCall, ToolCallDelta, Usage


class MalformedChunk(Exception):  # it never leaves the adapter
    """The provider sent a chunk that is not one."""


@dataclass
class _Call:
    number: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass
class Answer:
    """What has come of an answer so far.

    Parameters:
      model: The model that was asked; the provider's own name for it replaces it.
    """

    model: str
    finish_reason: str | None = None
    _texts: list[str] = field(default_factory=list[str])
    _calls: list[_Call] = field(default_factory=list[_Call])
    _open_calls: dict[int | None, _Call] = field(default_factory=dict[int | None, _Call])
    _usage: Usage | None = None

    def take(self, chunk: ChatCompletionChunk) -> list[TextDelta | ToolCallDelta]:
        """Add a chunk, and return what is new with it.

        Raises:
          MalformedChunk: It lacks what a chunk has. The SDK does not check what it decodes.
        """
        try:
            return self._take(chunk)
        except (AttributeError, TypeError, IndexError) as error:
            raise MalformedChunk(f"unreadable chunk: {error}") from error

    def completion(self) -> Completion:
        """Give the whole answer; only after a finish reason has come."""
        return Completion(
            content="".join(self._texts),
            model=self.model,
            usage=self._usage,
            finish_reason=self.finish_reason or "",
            tool_calls=tuple(ToolCall(call.id, call.name, call.arguments) for call in self._calls),
        )

    def _take(self, chunk: ChatCompletionChunk) -> list[TextDelta | ToolCallDelta]:
        self.model = chunk.model or self.model
        self._usage = _usage(chunk.usage) or self._usage
        if not chunk.choices:  # the last chunk has only the usage; Azure's first has only its filters
            return []
        choice = chunk.choices[0]
        calls = [self._take_call(call) for call in choice.delta.tool_calls or ()]
        self.finish_reason = choice.finish_reason or self.finish_reason
        text = _text(choice.delta)
        self._texts.append(text)
        return [*([TextDelta(text)] if text else ()), *calls]

    def _take_call(self, delta: ChoiceDeltaToolCall) -> ToolCallDelta:
        """Add a piece of a tool call: the first one names it, all carry its arguments.

        Some compatible servers send every call under one index, or none: then a new id begins a new call.
        """
        call = self._open_calls.get(delta.index)
        begins = call is None or bool(delta.id and delta.id != call.id)
        if call is None or begins:
            if not delta.id:
                raise MalformedChunk("a tool call without an id")
            call = _Call(len(self._calls), id=delta.id)
            self._open_calls[delta.index] = call
            self._calls.append(call)
        name, arguments = "", ""
        if delta.function is not None:
            name, arguments = delta.function.name or "", delta.function.arguments or ""
        call.name += name
        call.arguments += arguments
        return ToolCallDelta(call.number, call.id if begins else "", name, arguments)


def _text(delta: ChoiceDelta) -> str:
    """Give the text of a piece: a refusal, too, is an answer to the reader."""
    return (delta.content or "") + (delta.refusal or "")


def _usage(usage: CompletionUsage | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.total_tokens,
    )
