"""Reads from spans what people ask of a trace: how long a message waited, and what models took and cost."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, cast

from lightning.prices import Prices, price_of
from lightning.telemetry import names
from lightning.telemetry.spans import Span

#: What a run has sent itself: it may tell once more of the calls that the platform made for it.
_SENT_BY_RUNS: Final = "run:"


@dataclass(frozen=True, slots=True)
class Spending:
    """What calls of models took.

    Parameters:
      calls: How many.
      given: Tokens that the models were given.
      written: Tokens that they wrote.
      dollars: What that cost; None where no model has a price.
      unpriced: Calls of models without one.
      estimated: Whether tokens are our estimate, since a model's server did not say.
    """

    calls: int
    given: int
    written: int
    dollars: float | None
    unpriced: int
    estimated: bool


def spending_of(span: Span, prices: Prices) -> Spending | None:
    """Tell what the call of a model took; None where the span is none, or nobody counted."""
    told = span.attributes
    given, written = told.get(names.GEN_AI_USAGE_INPUT_TOKENS), told.get(names.GEN_AI_USAGE_OUTPUT_TOKENS)
    if not isinstance(given, int) or not isinstance(written, int) or span.process.startswith(_SENT_BY_RUNS):
        return None
    model = told.get(names.GEN_AI_RESPONSE_MODEL) or told.get(names.GEN_AI_REQUEST_MODEL)
    price = price_of(prices, str(model))
    dollars = None if price is None else price.of(given, written)
    return Spending(1, given, written, dollars, int(price is None), bool(told.get(names.USAGE_ESTIMATED)))


def total(spendings: Iterable[Spending]) -> Spending | None:
    """Add up what several calls took; None where there are none."""
    each = list(spendings)
    costs = [one.dollars for one in each if one.dollars is not None]
    if not each:
        return None
    return Spending(
        sum(one.calls for one in each),
        sum(one.given for one in each),
        sum(one.written for one in each),
        sum(costs) if costs else None,
        sum(one.unpriced for one in each),
        any(one.estimated for one in each),
    )


def queued_ns(span: Span) -> int | None:
    """Tell how long the message that a span works on was on the queue, in nanoseconds."""
    for link in span.links:
        told = link.get("attributes")
        enqueued_ms = cast("dict[str, object]", told or {}).get(names.LINK_ENQUEUED_TIME)
        if isinstance(enqueued_ms, int):
            # the queue tells milliseconds, so that a message may seem to come a moment before it was sent
            waited = span.start_ns - enqueued_ms * 1_000_000
            return waited if waited >= 0 else None
    return None
