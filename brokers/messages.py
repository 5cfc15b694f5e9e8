"""What all brokers do alike with messages: read them, say what went wrong, and make them new again."""

import traceback
from collections.abc import Mapping
from typing import Any, cast

from dramatiq import Message, MessageProxy
from dramatiq.errors import BrokerConnectionError, DecodeError

#: What Retries leaves on a message; a replayed message starts without it.
RETRY_OPTIONS = frozenset({"retries", "traceback", "requeue_timestamp"})


class NotEnqueued(BrokerConnectionError):
    """Some of several messages could not be sent, or it is not known whether they were; the others were.

    Parameters:
      failed: Why, by the places of the messages among those that were to be sent.
    """

    def __init__(self, failed: Mapping[int, Exception]) -> None:
        super().__init__("; ".join(dict.fromkeys(map(str, failed.values()))))
        self.failed = failed


def decode(body: bytes, queue_name: str) -> "Message[Any]":
    """Decode a message and check that Dramatiq's threads can work with it.

    Raises:
      DecodeError: When it is not a message.
    """
    message = cast("Message[Any]", Message.decode(body))  # pyright: ignore[reportUnknownMemberType]
    fields = (message.actor_name, message.message_id, message.kwargs, message.options)
    if tuple(type(field) for field in fields) != (str, str, dict, dict):
        # Dramatiq's consumer thread would fail on it, start again, and fail on it again.
        raise DecodeError("a field of the message has the wrong type", body, None)
    if message.queue_name != queue_name:
        message = cast("Message[Any]", message.copy(queue_name=queue_name))  # pyright: ignore[reportUnknownMemberType]
    return message


def why_undecodable(error: DecodeError) -> str:
    """Say in one line why a message could not be decoded."""
    cause = error.__cause__ or error
    return f"{type(cause).__name__}: {cause}"


def why_rejected(message: MessageProxy, exception: BaseException | None) -> str:
    """Say why a message is rejected: the traceback of what its actor raised, where there is one."""
    if exception is not None:
        return "".join(traceback.format_exception(exception, limit=30))
    return str(message.options.get("traceback") or "")


def renewed(body: bytes, queue_name: str) -> bytes:
    """Give a dead letter all its retries again; what cannot be decoded stays as it is."""
    try:
        message = decode(body, queue_name)
    except DecodeError:  # such a one will be buried again, with its reason
        return body
    for option in RETRY_OPTIONS:
        message.options.pop(option, None)
    return message.encode()
