"""What the latest events tell: how many ended how, and when; what failed; what models took."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from api.dashboard.spending import Spending, spending_of
from lightning.events import EventDocument
from lightning.prices import Prices

#: The chart and the tokens are of so many of the latest events.
LATEST: Final = 300
CHART_BARS: Final = 30
FAILURES: Final = 5


@dataclass(frozen=True, slots=True)
class Bar:
    """The events of one part of the chart's time, by state."""

    place: int
    begins: float
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Recent:
    """What the latest events tell.

    Parameters:
      events: How many these are.
      bars: They by time and state; none where there is nothing to draw.
      highest: The highest bar.
      failures: The latest dead events.
      spent: What the latest answers of models took.
      waiting_since: When the oldest event became due that nobody has finished; None when there is none.
      approvals_until: The ends of the time for the approvals that nobody has decided, so many at most as
        are shown.
    """

    events: int
    bars: tuple[Bar, ...]
    highest: int
    failures: tuple[dict[str, Any], ...]
    spent: Spending
    waiting_since: float | None
    approvals_until: tuple[float, ...]


def recent_of(
    latest: Sequence[EventDocument],
    dead: Sequence[EventDocument],
    answers: Sequence[EventDocument],
    prices: Prices,
    *,
    waiting_since: float | None,
    approvals_until: Sequence[float],
) -> Recent:
    """Tell what events tell.

    Parameters:
      latest: The latest ones.
      dead: The latest dead ones.
      answers: The latest answers of models.
      prices: What tokens cost.
      waiting_since: When the oldest event became due that nobody has finished.
      approvals_until: The ends of the time for what nobody has decided.
    """
    bars = tuple(_bars(latest))
    return Recent(
        events=len(latest),
        bars=bars,
        highest=max((sum(bar.counts.values()) for bar in bars), default=0),
        failures=tuple(_failure(event) for event in dead),
        spent=spending_of(answers, prices),
        waiting_since=waiting_since,
        approvals_until=tuple(approvals_until),
    )


def _failure(event: EventDocument) -> dict[str, Any]:
    named = ("id", "userID", "type", "recordedAt", "error")
    return {name: event[name] for name in named}


def _bars(events: Sequence[EventDocument]) -> list[Bar]:
    if not events:
        return []
    times = [datetime.fromisoformat(event["recordedAt"]).timestamp() for event in events]
    first, last = min(times), max(times)
    width = max(1.0, (last - first) / CHART_BARS)
    counted = [Counter[str]() for _ in range(CHART_BARS)]
    for event, at in zip(events, times, strict=True):
        counted[min(CHART_BARS - 1, int((at - first) / width))][event["state"]] += 1
    return [Bar(place, first + place * width, dict(counts)) for place, counts in enumerate(counted)]
