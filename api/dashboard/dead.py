"""Dead letters: the events that nobody tries again by himself, why, and what is to become of them."""

from contextlib import suppress
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View, field
from api.dashboard.everybody import names_of
from api.dashboard.page import action, action_on_everybody, note_act, page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.events import MAX_PLACE
from api.requests import whole_number
from lightning.errors import Conflict, NotFound
from lightning.storage import Where

PAGE: Final = 50


async def show(request: Request, view: View) -> Response:
    """Show a page of a user's dead events."""
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    where = [Where("state", "=", "dead")]
    found = await view.parts.log.events(view.subject, where, before=before, descending=True, limit=PAGE)
    older = {"before": found[-1]["seq"]} if found.more else {}
    return render("dead.html", view, events=list(found), names={}, older=older)


async def show_everybodys(request: Request, view: View) -> Response:
    """Show a page of all dead events, the one that died last first."""
    with pages_end():
        found = await view.parts.log.all_users.dead(limit=PAGE, page=page_token(request))
    names = await names_of(view, (event["userID"] for event in found.events))
    older = {} if found.next is None else {"page": found.next}
    return render("dead.html", view, events=found.events, names=names, older=older)


async def settle(_request: Request, view: View, form: Form) -> str:
    """Replay or discard the events that were ticked; those that are dead no more are left as they are."""
    do, events = _chosen(form)
    for event in events:
        await _settle(view, view.subject, event, do)
    view.parts.hub.wake(view.subject)
    return "/dead"


async def settle_everybodys(request: Request, view: View, form: Form) -> str:
    """Replay or discard the events that were ticked, each of its own user."""
    do, events = _chosen(form)
    for named in events:
        user, _, event = named.partition("/")
        if await _settle(view, user, event, do):
            view.parts.hub.wake(user)
            if user != view.user_id:
                note_act(view, user, f"{request.url.path} {do} {event}")
    return "/dead"


def _chosen(form: Form) -> tuple[str, list[str]]:
    """Tell what is to be done, and to which events: those that were ticked, or all that were shown."""
    do, _, of = field(form, "do").partition(" ")
    return do, form.get("shown" if of == "all" else "event", [])[:PAGE]


async def _settle(view: View, user: str, event_id: str, do: str) -> bool:
    """Replay or discard an event, if it is dead; tell whether that was done."""
    with suppress(Conflict, NotFound):
        if do == "discard":
            await view.parts.log.interventions.discard(user, event_id, by=view.user_id)
            return True
        event = await view.parts.log.get(user, event_id) if do == "replay" else None
        # one that somebody else has replayed meanwhile may have ended well: it is not to be repeated
        if event is not None and event["state"] == "dead":
            await view.parts.dispatch.replay(user, event_id, by=view.user_id)
            return True
    return False


ROUTES = (page("/dead", show), action("/dead", settle))
OF_EVERYBODY = (page_of_everybody("/dead", show_everybodys), action_on_everybody("/dead", settle_everybodys))
