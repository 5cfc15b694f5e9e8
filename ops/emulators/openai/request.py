"""Reads a chat completion request as strictly as the provider does.

https://platform.openai.com/docs/api-reference/chat/create
"""

from dataclasses import dataclass
from typing import cast

import orjson

JsonObject = dict[str, object]

ROLES = {"system", "developer", "user", "assistant", "tool"}


class BadRequest(Exception):  # the name of its status
    """The provider would answer 400.

    Parameters:
      message: What is wrong, in the provider's style.
      param: The field that is wrong.
    """

    def __init__(self, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What the script needs to know of a request.

    Parameters:
      model: The model asked for.
      text: The text of all messages, a line each.
      last_user_message: The text of the last message of role ``user``; empty if there is none.
      stream: Whether the answer is to be streamed.
      include_usage: Whether the stream is to end with the usage.
    """

    model: str
    text: str
    last_user_message: str
    stream: bool
    include_usage: bool

    @classmethod
    def parse(cls, body: bytes, *, deployment: str | None = None) -> "ChatRequest":
        """Read a body.

        Parameters:
          body: The body.
          deployment: The model, where the path names it.

        Raises:
          BadRequest: It is not one that the provider accepts.
        """
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadRequest(f"We could not parse the JSON body of your request: {error}") from error
        request = _object(value, "body")
        model = deployment or request.get("model")
        if not isinstance(model, str) or not model:
            raise BadRequest("you must provide a model parameter")
        messages = [_object(message, "messages") for message in _list(request.get("messages"), "messages")]
        texts = [_text(message) for message in messages]
        _check_tool_order(messages)
        if request.get("tools") == []:
            raise BadRequest("[] is too short - 'tools'", "tools")
        users = [text for text, message in zip(texts, messages, strict=True) if message["role"] == "user"]
        stream, options = request.get("stream") is True, request.get("stream_options")
        if options is not None and not stream:
            raise BadRequest("The 'stream_options' parameter is only allowed when 'stream' is enabled.")
        return cls(
            model=model,
            text="\n".join(texts),
            last_user_message=users[-1] if users else "",
            stream=stream,
            include_usage=options is not None
            and _object(options, "stream_options").get("include_usage") is True,
        )


def _object(value: object, param: str) -> JsonObject:
    if not isinstance(value, dict):
        raise BadRequest(f"Invalid type for '{param}': expected an object.", param)
    return cast("JsonObject", value)


def _list(value: object, param: str) -> list[object]:
    if not isinstance(value, list) or not value:
        raise BadRequest(f"Invalid '{param}': expected an array with at least one item.", param)
    return cast("list[object]", value)


def _text(message: JsonObject) -> str:
    """Give the text of a message, whose content is a string or a list of parts."""
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise BadRequest(f"Invalid value: {role!r}. Supported values are: {sorted(ROLES)}.", "messages")
    if isinstance(content, str):
        return content
    if content is None and role == "assistant" and message.get("tool_calls"):
        return ""
    parts = [_object(part, "content") for part in _list(content, "content")]
    return "".join(text for part in parts if isinstance(text := part.get("text"), str))


def _check_tool_order(messages: list[JsonObject]) -> None:
    """Refuse a tool call without its results right behind it, and a result without its call."""
    open_calls: set[object] = set()
    for message in messages:
        if message["role"] == "tool":
            if message.get("tool_call_id") not in open_calls:
                raise BadRequest(
                    "messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    "messages",
                )
            open_calls.discard(message.get("tool_call_id"))
            continue
        _check_answered(open_calls)
        if message["role"] == "assistant" and message.get("tool_calls"):
            calls = _list(message["tool_calls"], "tool_calls")
            open_calls = {_object(call, "tool_calls").get("id") for call in calls}
    _check_answered(open_calls)


def _check_answered(open_calls: set[object]) -> None:
    if open_calls:
        raise BadRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. The following tool_call_ids did not have response messages: {open_calls}",
            "messages",
        )
