"""A conversation is a read of the log: its messages and answers, newest first until the model is full."""

from collections.abc import AsyncGenerator

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
    async for earlier in _turns(log, event, conversation):
        left -= estimate(earlier.content)
        if left < 0:
            break
        newest_first.append(earlier)
    return newest_first[::-1]


async def _turns(log: EventLog, event: EventDocument, conversation: str) -> AsyncGenerator[ChatMessage]:
    """Give the turns before a message, newest first: to each message its answer, then itself.

    An answer stands in the log behind its message, but perhaps also behind the
    message that waited for it: so the log is read from its end.
    """
    spoken = [
        Where("conversationID", "=", conversation),
        Where("type", "in", ("llm.chat", "llm.chat.response")),
    ]
    answers: dict[str | None, str] = {}
    before: int | None = None
    while True:
        page = await log.events(event["userID"], spoken, before=before, descending=True, limit=PAGE)
        for spoken_event in page:
            content = spoken_event["metadata"]["content"]
            if spoken_event["type"] == "llm.chat.response":
                answers[spoken_event["cause"]] = content
            elif spoken_event["seq"] < event["seq"]:
                answer = answers.get(spoken_event["id"])
                if answer:
                    yield ChatMessage("assistant", answer)
                yield ChatMessage("user", content)
        if len(page) < PAGE:
            return
        before = page[-1]["seq"]


def estimate(text: str) -> int:
    """Estimate the tokens of a message."""
    return len(text) // CHARACTERS_PER_TOKEN + TOKENS_PER_MESSAGE
