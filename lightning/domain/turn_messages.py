"""What a model is shown of its own calls of tools, and of what came of them."""

import time
from collections.abc import Sequence
from typing import Final

from lightning.domain.turns import CallDocument, TurnDocument
from lightning.llm import ChatMessage, ToolCall
from lightning.llm.window import BYTES_PER_TOKEN
from lightning.tools.offer import bounded

#: What stands in a user's place where a turn goes on: words of the platform, and of nobody else.
CONTINUE: Final = "(The calls of tools that you waited for have their results now. Go on.)"

STILL_RUNNING: Final = "It is still running; its result comes later."
STILL_ASKED: Final = "The user has not decided on it yet; it is done when they approve it."
NOT_DECIDED: Final = "Refused: the user did not decide on it in time. It was not done."
NOT_MADE: Final = "It was not called: the turn ended before."

#: However many results there are, each is shown with so many characters.
_LEAST_CHARS: Final = 400


def reply_messages(replies: Sequence[TurnDocument], tokens: int) -> list[ChatMessage]:
    """Give the messages of replies that called tools, oldest first: each reply, then a result for each call.

    Parameters:
      replies: The replies, in their order.
      tokens: What the model may be shown in all; results have at most half of it together.
    """
    results = sum(len(reply["calls"]) for reply in replies)
    limit = max(_LEAST_CHARS, tokens * BYTES_PER_TOKEN // 2 // max(1, results))
    messages: list[ChatMessage] = []
    for reply in replies:
        calls = tuple(ToolCall(call["id"], call["name"], call["arguments"]) for call in reply["calls"])
        messages.append(ChatMessage("assistant", reply["content"], tool_calls=calls))
        messages += [
            ChatMessage("tool", bounded(_told(call), limit), tool_call_id=call["id"])
            for call in reply["calls"]
        ]
    return messages


def _told(call: CallDocument) -> str:
    if call["result"] is not None:
        return call["result"]
    if "asks" in call:
        return STILL_ASKED if call["asks"]["expiresAt"] > time.time() else NOT_DECIDED
    return STILL_RUNNING if "awaits" in call else NOT_MADE
