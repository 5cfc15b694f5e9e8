"""Puts together an answer from the chunks of an OpenAI stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

from lightning.llm.port import Completion, TextDelta, ToolCall, ToolCallDelta, Usage

#: A part of a chunk, as it was sent: https://platform.openai.com/docs/api-reference/chat-streaming
_Part: TypeAlias = Mapping[str, Any]


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

    def take(self, chunk: object) -> list[TextDelta | ToolCallDelta]:
        """Add a chunk, and return what is new with it.

        Parameters:
          chunk: JSON, as it was sent. Nobody has checked it.

        Raises:
          MalformedChunk: It lacks what a chunk has.
        """
        try:
            return self._take(cast("_Part", chunk))
        except KeyError as error:
            raise MalformedChunk(f"unreadable chunk: it has no {error}") from error
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

    def _take(self, chunk: _Part) -> list[TextDelta | ToolCallDelta]:
        self.model = chunk.get("model") or self.model
        self._usage = _usage(chunk.get("usage")) or self._usage
        if not chunk["choices"]:  # the last chunk has only the usage; Azure's first has only its filters
            return []
        choice: _Part = chunk["choices"][0]
        delta: _Part = choice["delta"]
        calls = [self._take_call(call) for call in delta.get("tool_calls") or ()]
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        text = _text(delta)
        self._texts.append(text)
        return [*([TextDelta(text)] if text else ()), *calls]

    def _take_call(self, delta: _Part) -> ToolCallDelta:
        """Add a piece of a tool call: the first one names it, all carry its arguments.

        Some compatible servers send every call under one index, or none: then a new id begins a new call.
        """
        index, named = delta.get("index"), delta.get("id")
        call = self._open_calls.get(index)
        begins = call is None or bool(named and named != call.id)
        if call is None or begins:
            if not named:
                raise MalformedChunk("a tool call without an id")
            call = _Call(len(self._calls), id=named)
            self._open_calls[index] = call
            self._calls.append(call)
        function: _Part = delta.get("function") or {}
        name, arguments = function.get("name") or "", function.get("arguments") or ""
        call.name += name
        call.arguments += arguments
        return ToolCallDelta(call.number, call.id if begins else "", name, arguments)


def _text(delta: _Part) -> str:
    """Give the text of a piece: a refusal, too, is an answer to the reader."""
    return (delta.get("content") or "") + (delta.get("refusal") or "")


def _usage(usage: _Part | None) -> Usage | None:
    if usage is None:
        return None
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
    )
