"""A conversation is a read of the log: its messages and answers, newest first until the model is full."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lightning.domain.turn_messages import CONTINUE, reply_messages
from lightning.domain.turns import TurnDocument, Turns
from lightning.events import EventDocument
from lightning.llm import ChatMessage, Usage
from lightning.llm.window import Estimator, Exchange, calibrated
from lightning.log import EventLog
from lightning.log.turns import CONTINUED
from lightning.storage import Where

PAGE = 50

_SPOKEN: Final = ("llm.chat", CONTINUED, "llm.chat.response")


@dataclass(frozen=True, slots=True)
class _Past:
    """What was said before: a question with its answer, and the replies between them that called tools."""

    id: str
    exchange: Exchange
    replies: Sequence[TurnDocument] = ()

    @property
    def counted(self) -> Exchange:
        """What its tokens can be learned from: where tools were called, more was counted than this."""
        exchange = self.exchange
        return Exchange(exchange.question, exchange.answer, None) if self.replies else exchange


async def context(
    log: EventLog,
    event: EventDocument,
    conversation: str,
    content: str,
    tokens: int,
    *,
    turns: Turns | None = None,
    began: str | None = None,
) -> list[ChatMessage]:
    """Collect what a model is shown to answer a message.

    Parameters:
      log: The log.
      event: The message, an `llm.chat` or what lets one go on.
      conversation: Its conversation.
      content: Its text; always included, however long.
      tokens: The budget, in tokens as they are estimated from what the model's server counted before.
      turns: The replies that called tools; without them they are left out.
      began: The message that the turn began with; its replies are always included.

    Returns:
      Messages, oldest first, the message itself last.
    """
    newest_first = [ChatMessage("user", content)]
    estimator, left, seen = None, tokens, began is None or began == event["id"]
    async for page in _pages(log, event, conversation, turns):
        if estimator is None:
            estimator = calibrated([past.counted for past in page[::-1]], tokens)
            left -= estimator.message(content)
        for past in page:
            wanted = past.id == began
            messages = _messages(past, tokens)
            cost = sum(estimator.message(_text(message)) for message in messages)
            if past.replies and cost > left and not wanted:
                messages = _messages(_Past(past.id, past.exchange), tokens)
            if wanted:
                # what came of its calls is what the model goes on from
                seen, left = True, left - cost
                newest_first += messages
                continue
            for message in messages if left >= 0 else ():
                left -= estimator.message(_text(message))
                if left < 0:
                    break
                newest_first.append(message)
        if left < 0 and seen:
            break
    return newest_first[::-1]


def _messages(past: _Past, tokens: int) -> list[ChatMessage]:
    """Give the messages of an exchange, newest first."""
    exchange = past.exchange
    answer = [ChatMessage("assistant", exchange.answer)] if exchange.answer else []
    replies = reply_messages(past.replies, tokens)[::-1]
    return [*answer, *replies, ChatMessage("user", exchange.question)]


def _text(message: ChatMessage) -> str:
    return message.content + "".join(call.name + call.arguments for call in message.tool_calls)


async def _pages(
    log: EventLog, event: EventDocument, conversation: str, turns: Turns | None
) -> AsyncGenerator[list[_Past]]:
    """Give what was said before a message, a page at a time, newest first: each message with its answer.

    An answer stands in the log behind its message, but perhaps also behind the
    message that waited for it: so the log is read from its end.
    """
    spoken = [Where("conversationID", "=", conversation), Where("type", "in", _SPOKEN)]
    answers: dict[str | None, EventDocument] = {}
    before: int | None = None
    while True:
        page = await log.events(event["userID"], spoken, before=before, descending=True, limit=PAGE)
        replies = await _replies(event["userID"], conversation, page, turns)
        said: list[_Past] = []
        for spoken_event in page:
            if spoken_event["type"] == "llm.chat.response":
                answers[spoken_event["cause"]] = spoken_event
            elif spoken_event["seq"] < event["seq"]:
                answer, own = answers.get(spoken_event["id"]), replies.get(spoken_event["id"], [])
                said.append(_Past(spoken_event["id"], _exchange(spoken_event, answer), own))
        yield said
        if not page.more:
            return
        before = page[-1]["seq"]


async def _replies(
    user_id: str, conversation: str, page: Sequence[EventDocument], turns: Turns | None
) -> Mapping[str, list[TurnDocument]]:
    found: dict[str, list[TurnDocument]] = {}
    if turns is None or not page:
        return found
    for each in await turns.said(user_id, conversation, page[-1]["seq"], page[0]["seq"]):
        found.setdefault(each["eventID"], []).append(each)
    return found


def _exchange(question: EventDocument, answer: EventDocument | None) -> Exchange:
    said = question["metadata"].get("content", CONTINUE)
    if answer is None:
        return Exchange(said, "", None)
    metadata = answer["metadata"]
    if metadata.get("waitsFor"):  # it said what the reply had said that called the tools
        return Exchange(said, "", None)
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
