"""What the tokens of language models cost, as the operator says it."""

import re
from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Price(BaseModel):
    """US dollars for a million tokens of a model: those that it is given, and those that it writes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: _Dollars
    output: _Dollars

    def of(self, given: int, written: int) -> float:
        """Give what a call costs, in US dollars."""
        return (self.input * given + self.output * written) / 1e6


Prices = Mapping[str, Price]

_PRICES: Final = TypeAdapter(dict[str, Price])


def read_prices(text: str) -> Prices:
    """Read prices as the setting has them: a JSON object by names of models; none from an empty text.

    Raises:
      ValueError: They are not of this form.
    """
    try:
        return _PRICES.validate_json(text or "{}")
    except ValidationError:
        raise ValueError('it is not JSON such as {"model": {"input": 0.15, "output": 0.6}}') from None


def price_of(prices: Prices, model: str) -> Price | None:
    """Find the price of a model; that of ``gpt-4o`` holds for its version ``gpt-4o-2024-08-06``, too."""
    while model not in prices:
        shorter = re.sub(r"-\d+\Z", "", model)
        if shorter == model:
            return None
        model = shorter
    return prices[model]
