"""The conversations: which there are, and what was said in them."""

import hashlib
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.conversations import MAX_PLACE
from api.conversations import shown as conversation_shown
from api.dashboard.access import View
from api.dashboard.everybody import names_of
from api.dashboard.page import page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.requests import whole_number
from lightning.domain.conversations import SPOKEN
from lightning.errors import NotFound
from lightning.storage import Where

PAGE: Final = 50


async def show_all(request: Request, view: View) -> Response:
    """Show a page of conversations."""
    with pages_end():
        found = await view.parts.conversations.newest(view.owner, limit=PAGE, page=page_token(request))
    listed = [{**conversation_shown(each), "userID": each["userID"]} for each in found.conversations]
    names = await names_of(view, (each["userID"] for each in found.conversations))
    is_first = page_token(request) is None
    return render("conversations.html", view, listed=listed, names=names, next=found.next, is_first=is_first)


async def show(request: Request, view: View) -> Response:
    """Show what was said in a conversation, a page at a time, the latest at the end."""
    return render("conversation.html", view, **await _read(request, view))


async def live(request: Request, view: View) -> Response:
    """Give what is said by now, or nothing when that is what was seen last."""
    said = await _read(request, view)
    if request.query_params.get("seen") == said["version"]:
        return Response(status_code=204)
    return render("conversation_live.html", view, **said)


async def _read(request: Request, view: View) -> dict[str, Any]:
    conversation = await view.parts.conversations.find(view.subject, request.path_params["id"])
    if conversation is None:
        raise NotFound("there is no such conversation, or it is not yours")
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    where = [Where("conversationID", "=", conversation["conversationID"]), Where("type", "in", SPOKEN)]
    found = await view.parts.log.events(view.subject, where, before=before, descending=True, limit=PAGE)
    told = [[each["id"], each["state"], each.get("erased")] for each in found]
    return {
        "conversation": conversation_shown(conversation),
        "messages": [*reversed(found)],
        "earlier": found[-1]["seq"] if found.more else None,
        "is_latest": before == MAX_PLACE,
        "version": hashlib.sha256(orjson.dumps([told, conversation["turns"]])).hexdigest()[:16],
    }


ROUTES = (
    page("/conversations", show_all),
    page("/conversations/{id}", show),
    page("/conversations/{id}/live", live),
)
OF_EVERYBODY = (page_of_everybody("/conversations", show_all),)
