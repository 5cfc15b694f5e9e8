"""What tokens cost."""

import pytest

from lightning.prices import Price, price_of, read_prices

PRICES = read_prices('{"gpt-4o": {"input": 2.5, "output": 10}, "gpt-4": {"input": 30, "output": 60}}')


@pytest.mark.parametrize(
    ("model", "dollars"),
    [("gpt-4o", 2.5), ("gpt-4o-2024-08-06", 2.5), ("gpt-4-0613", 30), ("gpt-4o-mini", None), ("", None)],
)
def test_versions_have_the_price_of_their_model(model, dollars):
    price = price_of(PRICES, model)
    assert (None if price is None else price.input) == dollars


def test_both_kinds_of_tokens_have_their_price():
    assert Price(input=2.5, output=10).of(1_000_000, 200_000) == 4.5


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"m": 1}', '{"m": {"input": -1, "output": 1}}', '{"m": {"input": 1}}']
)
def test_what_is_no_price_is_refused(text):
    with pytest.raises(ValueError, match="it is not JSON such as"):
        read_prices(text)


def test_there_may_be_none():
    assert read_prices("") == {}
