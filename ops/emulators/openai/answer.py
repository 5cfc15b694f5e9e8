"""Writes an answer in the provider's words: the object, the stream's chunks and the error.

https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

import time
from dataclasses import dataclass, field
from typing import cast

import orjson

from ops.emulators.openai.request import ChatRequest, JsonObject
from ops.emulators.openai.script import ScriptedToolCall, Step

#: The stream's last event.
DONE = b"data: [DONE]\n\n"

#: Pieces of a tool call's arguments, so that a client must put them together.
ARGUMENT_CHUNKS = 2

#: The provider's words for an error without one in the script: type and code.
ERROR_WORDS = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}


def error_body(status: int, error: object, *, param: str | None = None, code: str | None = None) -> bytes:
    """Give the body of an error.

    Parameters:
      status: Its HTTP status.
      error: The error object, its message, or None.
      param: The field that it speaks of.
      code: The provider's word for it, if it is not the status's own.
    """
    kind, usual_code = ERROR_WORDS.get(status, ("server_error", None))
    words: JsonObject = {"message": f"Scripted error {status}.", "type": kind, "param": param}
    words["code"] = code or usual_code
    if isinstance(error, str):
        words["message"] = error
    elif isinstance(error, dict):
        words |= cast("JsonObject", error)
    return orjson.dumps({"error": words})


@dataclass(frozen=True)
class Answer:
    """What a step answers to a request.

    Parameters:
      id: The completion's id.
      step: The step that applies.
      request: The request.
      filtered: Whether the stream begins with what the content filter says of the question, as on Azure.
    """

    id: str
    step: Step
    request: ChatRequest
    filtered: bool = False
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def text(self) -> str:
        """The whole text."""
        if self.step.reply is None and not self.step.tool_calls:
            return f"You said: {self.request.last_user_message}"
        return self.step.reply or ""

    @property
    def finish_reason(self) -> str:
        """Why it ends."""
        return self.step.finish_reason or ("tool_calls" if self.step.tool_calls else "stop")

    @property
    def usage(self) -> JsonObject | None:
        """The cost: scripted, or counted in words, so that it is the same each time."""
        if self.step.usage is False:
            return None
        if self.step.usage is not None:
            asked, answered = self.step.usage.prompt_tokens, self.step.usage.completion_tokens
        else:
            said = [self.text, *(_arguments(call) for call in self.step.tool_calls)]
            answered = sum(len(text.split()) for text in said)
            asked = len(self.request.text.split())
        return {
            "prompt_tokens": asked,
            "completion_tokens": answered,
            "total_tokens": asked + answered,
        }

    def body(self) -> bytes:
        """Give the answer to a request without ``stream``."""
        message: JsonObject = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self.step.tool_calls:
            message["tool_calls"] = [
                self._tool_call(number, call, arguments=_arguments(call))
                for number, call in enumerate(self.step.tool_calls)
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self.finish_reason}
        answer = self._envelope("chat.completion") | {"choices": [choice]}
        return orjson.dumps(answer if self.usage is None else answer | {"usage": self.usage})

    def head(self) -> bytes:
        """Give the stream's first event, which names the role; on Azure, one without choices is before it."""
        role = self._event({"role": "assistant", "content": ""})
        if not self.filtered:
            return role
        verdict = {"hate": {"filtered": False, "severity": "safe"}}
        results = [{"prompt_index": 0, "content_filter_results": verdict}]
        blank: JsonObject = {"id": "", "object": "", "created": 0, "model": "", "choices": []}
        return _event({**blank, "prompt_filter_results": results}) + role

    def chunks(self) -> list[bytes]:
        """Give the events that carry text and tool calls: those that a script counts."""
        deltas: list[JsonObject] = [{"content": piece} for piece in pieces(self.text, self.step.chunks)]
        for number, call in enumerate(self.step.tool_calls):
            opening = self._tool_call(number, call, arguments="")
            deltas.append({"tool_calls": [{"index": number, **opening}]})
            deltas.extend(
                {"tool_calls": [{"index": number, "function": {"arguments": piece}}]}
                for piece in pieces(_arguments(call), ARGUMENT_CHUNKS)
            )
        return [self._event(delta) for delta in deltas]

    def tail(self) -> bytes:
        """Give what ends the stream: finish reason, usage if it was asked for, and the end mark."""
        end = self._event({}, finish_reason=self.finish_reason)
        usage = self.usage
        if self.request.include_usage and usage is not None:
            no_choices: JsonObject = {"choices": [], "usage": usage}
            end += _event(self._envelope("chat.completion.chunk") | no_choices)
        return end + DONE

    def _event(self, delta: JsonObject, *, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        chunk = self._envelope("chat.completion.chunk") | {"choices": [choice]}
        return _event(chunk | {"usage": None} if self.request.include_usage else chunk)

    def _envelope(self, kind: str) -> JsonObject:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.request.model}

    def _tool_call(self, number: int, call: ScriptedToolCall, *, arguments: str) -> JsonObject:
        return {
            "id": call.id or f"call_{self.id}_{number}",
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        }


def pieces(text: str, count: int) -> list[str]:
    """Cut a text into at most so many pieces of about the same length, none of them empty."""
    size = -(-len(text) // count)
    return [text[start : start + size] for start in range(0, len(text), size)] if text else []


def _event(value: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


def _arguments(call: ScriptedToolCall) -> str:
    if isinstance(call.arguments, str):
        return call.arguments
    return orjson.dumps(call.arguments).decode()
