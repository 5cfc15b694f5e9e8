"""A conversation is a read of the log: its messages and answers, newest first until the model is full."""

from lightning.events import EventDocument
from lightning.llm import ChatMessage
from lightning.log import EventLog
from lightning.storage import Where

#: Characters that make a token, for a budget without the model's own tokenizer: a cautious average.
CHARACTERS_PER_TOKEN = 3

#: A message costs a model some tokens besides its text.
TOKENS_PER_MESSAGE = 4

PAGE = 50


async def context(
    log: EventLog, event: EventDocument, conversation: str, content: str, tokens: int
) -> list[ChatMessage]:
    """Collect what a model is shown to answer a message.

    Parameters:
      log: The log.
      event: The message, an `llm.chat`.
      conversation: Its conversation.
      content: Its text; always included, however long.
      tokens: The budget, estimated at three characters a token.

    Returns:
      Messages, oldest first, the message itself last.
    """
    newest_first = [ChatMessage("user", content)]
    left = tokens - estimate(content)
    before = event["seq"]
    spoken = [
        Where("conversationID", "=", conversation),
        Where("type", "in", ("llm.chat", "llm.chat.response")),
    ]
    while left > 0:
        page = await log.events(event["userID"], spoken, before=before, descending=True, limit=PAGE)
        for earlier in page:
            message = _message(earlier)
            left -= estimate(message.content)
            if left < 0:
                break
            if message.content:
                newest_first.append(message)
        if len(page) < PAGE:
            break
        before = page[-1]["seq"]
    return newest_first[::-1]


def estimate(text: str) -> int:
    """Estimate the tokens of a message."""
    return len(text) // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE


def _message(event: EventDocument) -> ChatMessage:
    role = "user" if event["type"] == "llm.chat" else "assistant"
    return ChatMessage(role, event["metadata"]["content"])
