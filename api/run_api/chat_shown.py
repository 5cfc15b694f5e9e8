"""A chat completion as OpenAI's servers write it, at once or in chunks.

https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

import time
from typing import Any, Literal

import orjson
from pydantic import BaseModel

from api.metering import Metered
from api.run_api.chat_forms import MadeCall
from lightning.llm import TextDelta, ToolCall, ToolCallDelta

#: The stream's last event.
DONE = b"data: [DONE]\n\n"


class UsageShown(BaseModel):
    """Tokens of a call; ``estimated`` where the model's server did not say, and they are our estimate."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    estimated: bool = False


class MessageShown(BaseModel):
    """The answer."""

    role: Literal["assistant"]
    content: str | None
    refusal: None
    tool_calls: list[MadeCall] = []


class ChoiceShown(BaseModel):
    """The one answer, and why it ends."""

    index: int
    message: MessageShown
    logprobs: None
    finish_reason: str


class CompletionShown(BaseModel):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChoiceShown]
    usage: UsageShown


class ChunkShown(BaseModel):
    """A piece of a chat completion; what its delta holds adds to those before."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: UsageShown | None = None


class Writer:
    """Writes one answer.

    Parameters:
      id: Its id.
      model: The model that was asked.
      include_usage: Whether the stream ends with the usage.
    """

    def __init__(self, id: str, model: str, *, include_usage: bool) -> None:
        self._id = f"chatcmpl-{id}"
        self._created = int(time.time())
        self._model = model
        self._include_usage = include_usage

    def whole(self, metered: Metered) -> dict[str, Any]:
        """Give the answer at once."""
        answer = metered.completion
        message: dict[str, Any] = {"role": "assistant", "content": answer.content, "refusal": None}
        if answer.tool_calls:
            calls = [_call(call) for call in answer.tool_calls]
            message |= {"content": answer.content or None, "tool_calls": calls}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish_reason}
        return {
            **self._envelope("chat.completion"),
            "model": answer.model,
            "choices": [choice],
            "usage": _usage(metered),
        }

    def head(self) -> bytes:
        """Give the stream's first event, which names the role."""
        return self._event({"role": "assistant", "content": ""})

    def delta(self, piece: TextDelta | ToolCallDelta) -> bytes:
        """Give an event with a piece of text, or of a call of a tool."""
        if isinstance(piece, TextDelta):
            return self._event({"content": piece.text})
        function = {"arguments": piece.arguments, **({"name": piece.name} if piece.name else {})}
        begins = {"id": piece.id, "type": "function"} if piece.id else {}
        return self._event({"tool_calls": [{"index": piece.number, **begins, "function": function}]})

    def tail(self, metered: Metered) -> bytes:
        """Give what ends the stream: the finish reason, perhaps the usage, and the end mark."""
        events = [self._event({}, finish_reason=metered.completion.finish_reason)]
        if self._include_usage:
            last: dict[str, Any] = {"choices": [], "usage": _usage(metered)}
            events.append(event({**self._envelope("chat.completion.chunk"), **last}))
        return b"".join([*events, DONE])

    def _event(self, delta: dict[str, Any], *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = {**self._envelope("chat.completion.chunk"), "choices": [choice]}
        return event({**chunk, "usage": None} if self._include_usage else chunk)

    def _envelope(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}


def event(data: object) -> bytes:
    """Write a server-sent event."""
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(metered: Metered) -> dict[str, Any]:
    usage = {
        "prompt_tokens": metered.usage.prompt_tokens,
        "completion_tokens": metered.usage.completion_tokens,
        "total_tokens": metered.usage.total_tokens,
    }
    return {**usage, "estimated": True} if metered.estimated else usage
