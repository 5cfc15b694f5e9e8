"""How much of a conversation a model can be shown: its window, estimates of tokens, and what to leave out.

The tokenizers of the models are no part of Lightning: their vocabularies come from the internet at first
use, which closed networks do not have, and differ from model to model. Instead a text is measured in bytes,
and the measure is corrected by what the model's server counted earlier in the same conversation.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from lightning.llm.port import ChatMessage, Usage

#: Bytes of UTF-8 that make a token, cautiously: prose in any script has 2.5 to 8 with the vocabularies
#: cl100k and o200k, source code about 4, numbers and JSON 2 to 2.5.
BYTES_PER_TOKEN: Final = 3

#: A message costs a model some tokens besides its text.
TOKENS_PER_MESSAGE: Final = 4

#: How far the correction may go: as far as texts of one kind differ from the cautious average.
LEAST_FACTOR: Final = 0.4
MOST_FACTOR: Final = 2.5

#: Estimated tokens that a correction must rest upon.
ENOUGH_TOKENS: Final = 50


@dataclass(frozen=True, slots=True)
class Window:
    """What a model takes.

    Parameters:
      tokens: Tokens of one call, question and answer together.
      answer: Tokens of them that are kept free for the answer.
    """

    tokens: int
    answer: int


#: Of a model that is not in the table.
UNKNOWN: Final = Window(12_000, 4_000)

#: By the beginning of the model's name; https://platform.openai.com/docs/models.
WINDOWS: Final = {
    "gpt-3.5-turbo": Window(16_385, 4_096),
    "gpt-35-turbo": Window(16_385, 4_096),
    "gpt-4": Window(8_192, 2_048),
    "gpt-4-32k": Window(32_768, 4_096),
    "gpt-4-0125": Window(128_000, 4_096),
    "gpt-4-1106": Window(128_000, 4_096),
    "gpt-4-turbo": Window(128_000, 4_096),
    "gpt-4o": Window(128_000, 16_384),
    "chatgpt-4o": Window(128_000, 16_384),
    "gpt-4.1": Window(1_047_576, 32_768),
    "gpt-5": Window(400_000, 128_000),
    "gpt-5-chat": Window(128_000, 16_384),
    "gpt-oss": Window(131_072, 32_768),
    "o1": Window(200_000, 100_000),
    "o1-mini": Window(128_000, 65_536),
    "o1-preview": Window(128_000, 32_768),
    "o3": Window(200_000, 100_000),
    "o3-mini": Window(200_000, 100_000),
    "o4-mini": Window(200_000, 100_000),
}


def window_of(model: str) -> Window:
    """Give the window of a model, by the longest name in the table that its own begins with.

    Parameters:
      model: As the provider names it: with a date, a vendor before a slash or ``ft:`` in front.
    """
    name = model.rpartition("/")[2].removeprefix("ft:").lower()
    known = [each for each in WINDOWS if name == each or name.startswith((f"{each}-", f"{each}:"))]
    return WINDOWS[max(known, key=len)] if known else UNKNOWN


def budget(model: str, cap: int | None = None) -> int:
    """Give the tokens that a model may be shown: its window without the answer, and no more than the cap."""
    window = window_of(model)
    room = window.tokens - window.answer
    return room if cap is None else min(room, cap)


@dataclass(frozen=True, slots=True)
class Estimator:
    """Estimates tokens.

    Parameters:
      factor: What the cautious average is multiplied with.
    """

    factor: float = 1.0

    def message(self, text: str) -> int:
        """Estimate the tokens of a message."""
        return math.ceil(_measure(text) * self.factor) + TOKENS_PER_MESSAGE


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question with its answer, and what the model's server counted."""

    question: str
    answer: str
    usage: Usage | None


def calibrated(exchanges: Sequence[Exchange], tokens: int) -> Estimator:
    """Learn from earlier exchanges of a conversation how many tokens its texts have.

    Parameters:
      exchanges: Oldest first.
      tokens: The budget that they were shown within.

    Returns:
      An estimator within the bounds; the cautious average where there is too little to learn from.
    """
    counted = estimated = 0.0
    for count, text in _evidence(exchanges, tokens):
        measure = _measure(text)
        if LEAST_FACTOR / 2 <= count / max(measure, 1.0) <= MOST_FACTOR * 2:
            counted += count
            estimated += measure
    if estimated < ENOUGH_TOKENS:
        return Estimator()
    return Estimator(min(max(counted / estimated, LEAST_FACTOR), MOST_FACTOR))


def _evidence(exchanges: Sequence[Exchange], tokens: int) -> Iterator[tuple[int, str]]:
    """Give texts, each with its tokens: the answers, and what two prompts differ by."""
    for exchange in exchanges:
        if exchange.usage is not None:
            yield exchange.usage.completion_tokens, exchange.answer
    for older, newer in pairwise(exchanges):
        # a prompt near the budget may have lost its beginning
        if older.usage is not None and newer.usage is not None and newer.usage.prompt_tokens <= tokens / 2:
            more = newer.usage.prompt_tokens - older.usage.prompt_tokens
            yield more - 2 * TOKENS_PER_MESSAGE, older.answer + newer.question


def _measure(text: str) -> float:
    return len(text.encode(errors="replace")) / BYTES_PER_TOKEN


def halved(messages: Sequence[ChatMessage]) -> list[ChatMessage] | None:
    """Leave out the older half of a conversation.

    What the system says stays, and so does the last turn. A turn, from what a user says to before what they
    say next, is left out as a whole, so that no tool's result stands without its call.

    Returns:
      Fewer messages, or None when there is nothing that may be left out.
    """
    spoken = [message for message in messages if message.role != "system"]
    starts = [place for place, message in enumerate(spoken) if message.role == "user" and place > 0]
    if not starts:
        return None
    costs = [Estimator().message(message.content) for message in spoken]
    half = sum(costs) / 2
    start = next((place for place in starts if sum(costs[place:]) <= half), starts[-1])
    return [message for message in messages if message.role == "system"] + spoken[start:]
