"""The events of a log, newest first: by type, state, time and what they say."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import View
from api.dashboard.page import page, render
from api.events import MAX_PLACE, one_of
from api.requests import whole_number
from lightning.errors import InvalidRequest
from lightning.events import TYPES, EventDocument, State
from lightning.log import EventLog
from lightning.storage import Where

PAGE: Final = 50

#: So many events are looked through for a text; then somebody must ask for more.
MAX_LOOKED_AT: Final = 2_000
_PORTION: Final = 200


#: What of the query is asked of the store, and the field of events that it is.
_FIELDS: Final = {"type": "type", "state": "state", "conversation": "conversationID", "root": "root"}


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of events.

    Parameters:
      events: They, newest first.
      next: The place before which the next page begins; None on the last one.
      looked_at: So many were looked through.
    """

    events: list[EventDocument]
    next: int | None
    looked_at: int


async def show(request: Request, view: View) -> Response:
    """Show a page of events."""
    query = request.query_params
    one_of(request, "type", {"", *TYPES})
    one_of(request, "state", {"", *get_args(State)})
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    chosen = {
        name: query.get(name, "")
        for name in ("type", "state", "conversation", "root", "since", "until", "text")
    }
    where = [Where(name, "=", chosen[given]) for given, name in _FIELDS.items() if chosen[given]]
    log, user = view.parts.log, view.subject
    after = await _place(log, user, chosen["since"]) - 1 if chosen["since"] else 0
    if chosen["until"]:
        before = min(before, await _place(log, user, chosen["until"]))
    found = await _list(log, user, where, after=max(0, after), before=before, text=chosen["text"])
    return render(
        "events.html",
        view,
        listed=found,
        chosen=chosen,
        types=sorted(TYPES),
        states=get_args(State),
        is_first=before == MAX_PLACE and not any(chosen.values()),
    )


async def _list(
    log: EventLog, user: str, where: Sequence[Where], *, after: int, before: int, text: str
) -> Listed:
    if not text:
        found = await log.events(user, where, after=after, before=before, descending=True, limit=PAGE)
        return Listed(list(found), found[-1]["seq"] if found.more else None, len(found))
    wanted, matching, looked_at, more = text.casefold(), list[EventDocument](), 0, True
    while more and looked_at < MAX_LOOKED_AT and len(matching) < PAGE:
        found = await log.events(user, where, after=after, before=before, descending=True, limit=_PORTION)
        more = found.more
        for event in found:
            before, looked_at = event["seq"], looked_at + 1
            if _says(event, wanted):
                matching.append(event)
            if len(matching) == PAGE:
                more = more or event["seq"] != found[-1]["seq"]
                break
    return Listed(matching, before if more else None, looked_at)


def _says(event: EventDocument, wanted: str) -> bool:
    told = (event["id"], event["source"], orjson.dumps([event["metadata"], event["error"]]).decode())
    return any(wanted in each.casefold() for each in told)


async def _place(log: EventLog, user: str, moment: str) -> int:
    """Find the first place of what was recorded at a moment or later: places and times go up together.

    Clocks that differ may put a neighbour on the other side.
    """
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        message = "a time is written as 2026-01-31T12:00, in UTC"
        raise InvalidRequest(message, code="invalid_parameter") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    low, high = 1, int((await log.head(user))["seq"]) + 1
    while low < high:
        middle = (low + high) // 2
        found = await log.events(user, after=middle - 1, limit=1)
        if not found or datetime.fromisoformat(found[0]["recordedAt"]) >= at:
            high = middle
        else:
            low = max(middle, found[0]["seq"]) + 1
    return low


ROUTES = (page("/events", show),)
