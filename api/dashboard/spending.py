"""What answers of models took: tokens, and money where the operator has said what tokens cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lightning.events import EventDocument
from lightning.prices import Prices, price_of


@dataclass(frozen=True, slots=True)
class Spending:
    """What some answers took.

    Parameters:
      answers: How many these are.
      given: Tokens that the models were given.
      written: Tokens that they wrote.
      dollars: What the answers cost whose models have a price; None where no answer's has.
      unpriced: Answers that took tokens of models without a price.
    """

    answers: int
    given: int
    written: int
    dollars: float | None
    unpriced: int

    @property
    def tokens(self) -> int:
        """All tokens."""
        return self.given + self.written


def spending_of(answers: Sequence[EventDocument], prices: Prices) -> Spending:
    """Add up what answers took.

    Parameters:
      answers: Events of the type `llm.chat.response`.
      prices: What tokens cost.
    """
    given = written = unpriced = 0
    costs = list[float]()
    for answer in answers:
        usage: dict[str, Any] | None = answer["metadata"].get("usage")
        if not usage:
            continue
        took = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
        given, written = given + took[0], written + took[1]
        price = price_of(prices, str(answer["metadata"].get("model")))
        if price is None:
            unpriced += 1
        else:
            costs.append(price.of(*took))
    return Spending(len(answers), given, written, sum(costs) if costs else None, unpriced)
