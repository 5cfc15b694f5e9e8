"""What goes on: how many events are in which state, since when, what waits, what failed, what it took."""

import hashlib
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import View
from api.dashboard.everybody import Totals, totals
from api.dashboard.page import page, render
from api.dashboard.spending import Spending, spending_of
from api.platform import Platform
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.log import EventLog
from lightning.storage import Where

#: The chart, the failures and the tokens are of so many of the latest events.
LATEST: Final = 300
CHART_BARS: Final = 30
FAILURES: Final = 5

#: The states, in the order in which the chart stacks them.
STATES: Final = ("done", "accepted", "dead", "cancelled")

_MOST_REMEMBERED: Final = 200


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


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the overview shows."""

    counts: dict[str, int]
    total: int
    recent: Recent
    lag_seconds: int | None
    approvals: int
    queue_seconds: int | None
    everybody: Totals | None
    version: str = ""


class _Memory:
    """What was told of the latest events of users whose logs have not changed since."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[object, Recent]] = OrderedDict()

    def get(self, user_id: str, log_stands: object) -> Recent | None:
        found = self._known.get(user_id)
        return found[1] if found is not None and found[0] == log_stands else None

    def keep(self, user_id: str, log_stands: object, recent: Recent) -> None:
        self._known[user_id] = (log_stands, recent)
        self._known.move_to_end(user_id)
        if len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)


async def show(_request: Request, view: View) -> Response:
    """Show the overview."""
    return render("overview.html", view, now=await summary(view))


async def live(request: Request, view: View) -> Response:
    """Give what changes of it, or nothing when that is what was seen last."""
    now = await summary(view)
    if request.query_params.get("seen") == now.version:
        return Response(status_code=204)
    return render("overview_live.html", view, now=now)


async def summary(view: View) -> Summary:
    """Find out how a user's events are."""
    log, user = view.parts.log, view.subject
    head = await log.head(user)
    counts = {state: head["counts"].get(state, 0) for state in STATES}
    recent = await _recent(view.parts, user, (head["seq"], counts))
    waited = None if recent.waiting_since is None else max(0, int(time.time() - recent.waiting_since))
    asks_for_all = view.is_operator and not view.is_elsewhere
    made = Summary(
        counts,
        head["seq"],
        recent,
        waited,
        sum(until > time.time() for until in recent.approvals_until),
        await _queue_seconds(view) if asks_for_all else None,
        await totals(view.parts) if asks_for_all else None,
    )
    digest = hashlib.sha256(orjson.dumps(asdict(made)))
    return replace(made, version=digest.hexdigest()[:16])


async def _queue_seconds(view: View) -> int | None:
    """Tell how long the oldest message has been waiting; None also when the queue does not say."""
    try:
        age = await view.parts.queue.oldest_age_seconds()
    except LightningError:
        return None
    return None if age is None else int(age)


_memories: WeakKeyDictionary[EventLog, _Memory] = WeakKeyDictionary()


async def _recent(parts: Platform, user: str, log_stands: tuple[int, dict[str, int]]) -> Recent:
    log = parts.log
    memory = _memories.setdefault(log, _Memory())
    known = memory.get(user, log_stands)
    if known is not None:
        return known
    latest = await log.events(user, descending=True, limit=LATEST)
    dead = await log.events(user, [Where("state", "=", "dead")], descending=True, limit=FAILURES)
    answered = [Where("type", "=", "llm.chat.response")]
    answers = await log.events(user, answered, descending=True, limit=LATEST)
    waiting = await log.events(user, [Where("state", "=", "accepted")], limit=1)
    asked = await parts.approvals.newest(user, pending=True, limit=LATEST)
    bars = tuple(_bars(latest))
    recent = Recent(
        events=len(latest),
        bars=bars,
        highest=max((sum(bar.counts.values()) for bar in bars), default=0),
        failures=tuple(_failure(event) for event in dead),
        spent=spending_of(answers, parts.settings.prices),
        waiting_since=waiting[0]["dueAt"] if waiting else None,
        approvals_until=tuple(each["expiresAt"] for each in asked.approvals),
    )
    memory.keep(user, log_stands, recent)
    return recent


def _failure(event: EventDocument) -> dict[str, Any]:
    named = ("id", "type", "recordedAt", "error")
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


ROUTES = (page("/", show), page("/live", live))
