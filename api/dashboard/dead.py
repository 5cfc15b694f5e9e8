"""Dead letters: the events that nobody tries again by himself, why, and what is to become of them."""

from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View, field
from api.dashboard.page import action, page, render
from api.events import MAX_PLACE
from api.requests import whole_number
from lightning.errors import Conflict, NotFound
from lightning.storage import Where

PAGE: Final = 50


async def show(request: Request, view: View) -> Response:
    """Show a page of dead events."""
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    where = [Where("state", "=", "dead")]
    found = await view.parts.log.events(view.subject, where, before=before, descending=True, limit=PAGE)
    older = found[-1]["seq"] if found.more else None
    return render("dead.html", view, events=list(found), older=older)


async def settle(_request: Request, view: View, form: Form) -> str:
    """Replay or discard the events that were ticked; those that are dead no more are left as they are."""
    for event in form.get("event", [])[:PAGE]:
        with suppress(Conflict, NotFound):
            if field(form, "do") == "discard":
                await view.parts.log.interventions.discard(view.subject, event, by=view.user_id)
            elif field(form, "do") == "replay":
                await _replay(view, event)
    view.parts.hub.wake(view.subject)
    return "/dead"


async def _replay(view: View, event_id: str) -> None:
    event = await view.parts.log.get(view.subject, event_id)
    # one that somebody else has replayed meanwhile may have ended well: it is not to be repeated
    if event is not None and event["state"] == "dead":
        await view.parts.dispatch.replay(view.subject, event_id, by=view.user_id)


ROUTES = (page("/dead", show), action("/dead", settle))
