"""A conversation is a read of the log: its messages and answers, newest first until the model is full."""

from collections.abc import AsyncGenerator

from lightning.events import EventDocument
from lightning.llm import ChatMessage, Usage
from lightning.llm.window import Estimator, Exchange, calibrated
from lightning.log import EventLog
from lightning.storage import Where

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
      tokens: The budget, in tokens as they are estimated from what the model's server counted before.

    Returns:
      Messages, oldest first, the message itself last.
    """
    newest_first = [ChatMessage("user", content)]
    estimator, left = None, tokens
    async for page in _pages(log, event, conversation):
        if estimator is None:
            estimator = calibrated(page[::-1], tokens)
            left -= estimator.message(content)
        for exchange in page:
            for message in _messages(exchange):
                left -= estimator.message(message.content)
                if left < 0:
                    return newest_first[::-1]
                newest_first.append(message)
    return newest_first[::-1]


def _messages(exchange: Exchange) -> list[ChatMessage]:
    """Give the messages of an exchange, newest first."""
    question = ChatMessage("user", exchange.question)
    return [ChatMessage("assistant", exchange.answer), question] if exchange.answer else [question]


async def _pages(log: EventLog, event: EventDocument, conversation: str) -> AsyncGenerator[list[Exchange]]:
    """Give what was said before a message, a page at a time, newest first: each message with its answer.

    An answer stands in the log behind its message, but perhaps also behind the
    message that waited for it: so the log is read from its end.
    """
    spoken = [
        Where("conversationID", "=", conversation),
        Where("type", "in", ("llm.chat", "llm.chat.response")),
    ]
    answers: dict[str | None, EventDocument] = {}
    before: int | None = None
    while True:
        page = await log.events(event["userID"], spoken, before=before, descending=True, limit=PAGE)
        exchanges: list[Exchange] = []
        for spoken_event in page:
            if spoken_event["type"] == "llm.chat.response":
                answers[spoken_event["cause"]] = spoken_event
            elif spoken_event["seq"] < event["seq"]:
                exchanges.append(_exchange(spoken_event, answers.get(spoken_event["id"])))
        yield exchanges
        if not page.more:
            return
        before = page[-1]["seq"]


def _exchange(question: EventDocument, answer: EventDocument | None) -> Exchange:
    said = question["metadata"]["content"]
    if answer is None:
        return Exchange(said, "", None)
    metadata = answer["metadata"]
    counted = metadata.get("usage")
    usage = counted and Usage(
        prompt_tokens=counted["prompt_tokens"],
        completion_tokens=counted["completion_tokens"],
        total_tokens=counted["total_tokens"],
    )
    return Exchange(said, metadata["content"], usage)


def estimate(text: str) -> int:
    """Estimate the tokens of a message of which nothing else is known."""
    return Estimator().message(text)
