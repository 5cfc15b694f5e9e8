"""What goes on: how many events are in which state, since when, what waits, what failed, what it took."""

import hashlib
import time
from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from typing import Final
from weakref import WeakKeyDictionary

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import View
from api.dashboard.everybody import QueueStanding, Totals, queue_standing, recent_of_all, totals
from api.dashboard.page import page, page_of_everybody, render
from api.dashboard.recent import FAILURES, LATEST, Recent, recent_of
from api.platform import Platform
from lightning.log import EventLog
from lightning.storage import Where

#: The states, in the order in which the chart stacks them.
STATES: Final = ("done", "accepted", "dead", "cancelled")

_MOST_REMEMBERED: Final = 200


@dataclass(frozen=True, slots=True)
class Summary:
    """All that the overview shows; ``queue`` and ``everybody`` only to operators."""

    counts: dict[str, int]
    total: int
    recent: Recent
    lag_seconds: int | None
    approvals: int
    queue: QueueStanding | None
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
    """Find out how the events of a user are, or those of all."""
    made = await (_of_all(view) if view.everybody else _of_one(view))
    digest = hashlib.sha256(orjson.dumps(asdict(made)))
    return replace(made, version=digest.hexdigest()[:16])


async def _of_one(view: View) -> Summary:
    log, user = view.parts.log, view.subject
    head = await log.head(user)
    counts = {state: head["counts"].get(state, 0) for state in STATES}
    recent = await _recent(view.parts, user, (head["seq"], counts))
    waited = None if recent.waiting_since is None else max(0, int(time.time() - recent.waiting_since))
    asks_for_all = view.is_operator and not view.is_elsewhere
    return Summary(
        counts,
        head["seq"],
        recent,
        waited,
        _undecided(recent),
        await queue_standing(view.parts) if asks_for_all else None,
        await totals(view.parts) if asks_for_all else None,
    )


async def _of_all(view: View) -> Summary:
    everybody, queue = await totals(view.parts), await queue_standing(view.parts)
    recent = await recent_of_all(view.parts)
    counts = {state: everybody.counts.get(state, 0) for state in STATES}
    lag = None if queue is None else queue.oldest_seconds
    return Summary(counts, sum(counts.values()), recent, lag, _undecided(recent), queue, everybody)


def _undecided(recent: Recent) -> int:
    return sum(until > time.time() for until in recent.approvals_until)


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
    recent = recent_of(
        latest,
        dead,
        answers,
        parts.settings.prices,
        waiting_since=waiting[0]["dueAt"] if waiting else None,
        approvals_until=[each["expiresAt"] for each in asked.approvals],
    )
    memory.keep(user, log_stands, recent)
    return recent


ROUTES = (page("/", show), page("/live", live))
OF_EVERYBODY = (page_of_everybody("/", show), page_of_everybody("/live", live))
