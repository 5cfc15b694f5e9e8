"""The events of a log or of all, newest first: by type, state, time and what they say."""

from collections.abc import Mapping
from typing import Any, Final, get_args

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import View
from api.dashboard.everybody import names_of
from api.dashboard.found_events import Listed, OfAll, OfOne, Wanted, find, place_of, recorded_text
from api.dashboard.page import page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.events import MAX_PLACE, one_of
from api.requests import whole_number
from lightning.events import TYPES, EventDocument, State
from lightning.storage import Where

PAGE: Final = 50

#: What of the query names a value of an event, and the field of events that it is.
_FIELDS: Final = {"type": "type", "state": "state", "conversation": "conversationID", "root": "root"}

_CHOICES: Final = (*_FIELDS, "user", "since", "until", "text")

Chosen = Mapping[str, str]


async def show(request: Request, view: View) -> Response:
    """Show a page of events."""
    query = request.query_params
    one_of(request, "type", {"", *TYPES})
    one_of(request, "state", {"", *get_args(State)})
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    chosen = {name: query.get(name, "") for name in _CHOICES}
    if not view.everybody:
        chosen["user"] = ""
    user = view.owner
    if chosen["user"]:
        user = (await view.parts.accounts.named(chosen["user"])).id
    with pages_end():
        listed, following = (
            await _of_all(request, view, chosen)
            if user is None
            else await _of_one(view, user, chosen, before)
        )
    return render(
        "events.html",
        view,
        listed=listed,
        names=await names_of(view, (event["userID"] for event in listed.events)),
        following={**chosen, **following},
        chosen=chosen,
        types=sorted(TYPES),
        states=get_args(State),
        is_first=before == MAX_PLACE and page_token(request) is None and not any(chosen.values()),
    )


async def _of_one(view: View, user: str, chosen: Chosen, before: int) -> tuple[Listed, dict[str, Any]]:
    """List events of one user; the store knows all of what is chosen but a text."""
    log = view.parts.log
    where = [Where(name, "=", chosen[given]) for given, name in _FIELDS.items() if chosen[given]]
    after = await place_of(log, user, chosen["since"]) - 1 if chosen["since"] else 0
    if chosen["until"]:
        before = min(before, await place_of(log, user, chosen["until"]))
    source = OfOne(log, user, where, max(0, after))
    listed = await find(source, before, _saying(chosen) if chosen["text"] else None, PAGE)
    return listed, {"before": listed.next}


async def _of_all(request: Request, view: View, chosen: Chosen) -> tuple[Listed, dict[str, Any]]:
    """List events of all users, of which the store knows only when they were recorded."""
    source = OfAll(view.parts.log, recorded_text(chosen["since"]), recorded_text(chosen["until"]))
    fields = [(name, chosen[given]) for given, name in _FIELDS.items() if chosen[given]]
    says = _saying(chosen)

    def wanted(event: EventDocument) -> bool:
        return all(event.get(name) == value for name, value in fields) and says(event)

    looks = wanted if fields or chosen["text"] else None
    listed = await find(source, page_token(request), looks, PAGE)
    return listed, {"page": listed.next}


def _saying(chosen: Chosen) -> Wanted:
    wanted = chosen["text"].casefold()

    def says(event: EventDocument) -> bool:
        told = (event["id"], event["source"], orjson.dumps([event["metadata"], event["error"]]).decode())
        return any(wanted in each.casefold() for each in told)

    return says


ROUTES = (page("/events", show),)
OF_EVERYBODY = (page_of_everybody("/events", show),)
