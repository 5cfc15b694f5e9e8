"""One event: what it says, what became of it and followed from it, and what may be done with it."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View
from api.dashboard.page import action, page, render
from api.dashboard.spending import Spending, spending_of
from api.dashboard.traces import Trace, trace_of
from api.requests import whole_number
from lightning.errors import NotFound
from lightning.events import TYPES, EventDocument
from lightning.log import EventLog, public
from lightning.storage import Where

#: So much of what belongs together is shown as a tree.
MAX_TREE: Final = 200

#: So many spans are drawn at once; the rest is drawn when somebody asks.
SPANS_AT_ONCE: Final = 100

#: No page has more rows than this.
_MAX_SPANS: Final = 100_000


@dataclass(slots=True)
class Node:
    """An event in the tree of what followed from what."""

    event: EventDocument
    children: list["Node"] = field(default_factory=list["Node"])


@dataclass(frozen=True, slots=True)
class Shown:
    """All that is shown of an event.

    Parameters:
      event: The event.
      tree: All that belongs to its root.
      cut: Whether the tree has more than is shown.
      trace: Its spans.
      spent: What the answers of models in the tree took.
      run: The id of its run, where it is a task that has one.
      version: Another where there is something else to be seen.
    """

    event: EventDocument
    tree: list[Node]
    cut: bool
    trace: Trace
    spent: Spending
    run: str | None
    version: str

    @property
    def can_replay(self) -> bool:
        """Whether it may be worked on once more."""
        kind = TYPES.get(self.event["type"])
        again = self.event["state"] == "dead" or (kind is not None and kind.posted_by_users)
        return again and self.event["state"] != "accepted" and not self.event.get("erased")

    @property
    def goes_on(self) -> bool:
        """Whether something of it is still to come."""
        return any(node.event["state"] == "accepted" for node in _all(self.tree))


async def show(request: Request, view: View) -> Response:
    """Show an event."""
    shown = await _read(request, view)
    return _render("event.html", view, shown)


async def live(request: Request, view: View) -> Response:
    """Give what is shown of an event, or nothing when that is what was seen last.

    As many rows of the waterfall are drawn as were: each part that was drawn says how far it goes, and what
    comes last of these is read.
    """
    shown = await _read(request, view)
    if request.query_params.get("seen") == shown.version:
        return Response(status_code=204)
    drawn = whole_number(request, "drawn", SPANS_AT_ONCE, highest=_MAX_SPANS)
    return _render("event_live.html", view, shown, until=max(drawn, SPANS_AT_ONCE))


async def spans(request: Request, view: View) -> Response:
    """Give the next rows of the waterfall."""
    shown = await _read(request, view)
    first = whole_number(request, "first", 0, highest=_MAX_SPANS - SPANS_AT_ONCE)
    return _render("waterfall_rows.html", view, shown, first=first, until=first + SPANS_AT_ONCE)


def _render(
    template: str, view: View, shown: Shown, *, first: int = 0, until: int = SPANS_AT_ONCE
) -> Response:
    return render(template, view, shown=shown, first=first, until=until, at_once=SPANS_AT_ONCE)


async def replay(request: Request, view: View, _form: Form) -> str:
    """Have an event worked on once more."""
    event = await view.parts.dispatch.replay(view.subject, request.path_params["id"], by=view.user_id)
    view.parts.hub.wake(view.subject)
    return f"/events/{event['id']}"


async def cancel(request: Request, view: View, _form: Form) -> str:
    """Stop an event, and all that belongs to it."""
    event = await view.parts.dispatch.cancel(view.subject, request.path_params["id"], by=view.user_id)
    view.parts.hub.wake(view.subject)
    return f"/events/{event['id']}"


async def _read(request: Request, view: View) -> Shown:
    log, user = view.parts.log, view.subject
    event = await log.get(user, request.path_params["id"])
    if event is None:
        raise NotFound("there is no such event, or it is not yours")
    tree, cut = await _tree(log, user, event)
    own = {node.event["id"] for node in _all(tree)} | {event["id"]}
    trace = await trace_of(view.parts, event["id"], None if view.is_operator else own)
    run = None
    if event["type"] == "worker.task":
        found = await view.parts.runs.of_task(user, event["id"])
        run = None if found is None else found.document["id"]
    told: list[Any] = [public(event), run, len(trace.rows), *(public(node.event) for node in _all(tree))]
    version = hashlib.sha256(orjson.dumps(told)).hexdigest()[:16]
    answers = [node.event for node in _all(tree) if node.event["type"] == "llm.chat.response"]
    spent = spending_of(answers, view.parts.settings.prices)
    return Shown(event, tree, cut, trace, spent, run, version)


async def _tree(log: EventLog, user: str, event: EventDocument) -> tuple[list[Node], bool]:
    """Read what belongs to the root of an event, each below what it follows from."""
    found = await log.events(user, [Where("root", "=", event["root"])], limit=MAX_TREE)
    nodes = {each["id"]: Node(each) for each in found}
    tops: list[Node] = []
    for node in nodes.values():
        above = nodes.get(node.event["cause"] or "")
        (tops if above is None else above.children).append(node)
    return tops, found.more


def _all(tree: list[Node]) -> list[Node]:
    """List the nodes of a tree, which may be deep."""
    found, left = list[Node](), list(tree)
    while left:
        node = left.pop()
        found.append(node)
        left += node.children
    return found


ROUTES = (
    page("/events/{id}", show),
    page("/events/{id}/live", live),
    page("/events/{id}/spans", spans),
    action("/events/{id}/replay", replay),
    action("/events/{id}/cancel", cancel),
)
