"""Models that can call no tools: a server of such a one refuses what a conversation offers it."""

from typing import Final

import chainlit as cl

from api.chat import shown
from lightning.client import ClientError, Conversation

#: The name of the button that has a conversation offer none.
GO_ON: Final = "toolless"


def may_be_why(error: ClientError, conversation: Conversation | None) -> bool:
    """Tell whether there is no answer since the conversation offers tools."""
    return error.code == "model_refused" and conversation is not None and bool(conversation["tools"])


async def offer() -> None:
    """Offer to go on without."""
    text = "If this model cannot call tools, go on without them, and say it once more."
    action = cl.Action(name=GO_ON, label="Go on without tools", payload={})
    await cl.Message(text, author=shown.ASSISTANT, actions=[action]).send()
