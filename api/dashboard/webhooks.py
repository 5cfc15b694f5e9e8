"""The webhooks: whether they work, and what was delivered to them."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View
from api.dashboard.everybody import each_has
from api.dashboard.page import action, page, page_of_everybody, render
from api.events import MAX_PLACE
from api.requests import whole_number
from api.webhooks import deliver, delivery_shown, failing, redeliver_to
from lightning.domain.webhook import Webhook
from lightning.errors import NotFound

PAGE: Final = 20


async def show_all(_request: Request, view: View) -> Response:
    """Show the webhooks."""
    own = [(view.subject, each) for each in await view.parts.webhooks.of(view.subject)]
    return render("webhooks.html", view, listed=own, names={}, next=None)


async def show_everybodys(request: Request, view: View) -> Response:
    """Show what the accounts of a page have."""
    found = await each_has(request, view, view.parts.webhooks.of)
    return render("webhooks.html", view, listed=found.listed, names=found.names, next=found.next)


async def show(request: Request, view: View) -> Response:
    """Show a webhook, whether it works, and a page of its deliveries."""
    webhook = await _own(request, view)
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    health = await view.parts.webhook_health.get(view.subject, webhook.id)
    found = await view.parts.deliveries.latest(view.subject, webhook.id, before=before, limit=PAGE)
    return render(
        "webhook.html",
        view,
        webhook=webhook,
        failing=failing(health),
        deliveries=[delivery_shown(each) for each in found.deliveries],
        older=found.deliveries[-1].event["seq"] if found.more else None,
    )


async def test(request: Request, view: View, _form: Form) -> str:
    """Deliver a test message."""
    webhook = await _own(request, view)
    await deliver(view.parts, view.subject, webhook, {})
    return f"/webhooks/{webhook.id}"


async def redeliver(request: Request, view: View, _form: Form) -> str:
    """Deliver a message once more."""
    webhook = await _own(request, view)
    await redeliver_to(view.parts, view.subject, webhook, request.path_params["delivery"])
    return f"/webhooks/{webhook.id}"


async def _own(request: Request, view: View) -> Webhook:
    webhook = await view.parts.webhooks.find(view.subject, request.path_params["webhook"])
    if webhook is None:
        raise NotFound("there is no such webhook, or it is not yours")
    return webhook


ROUTES = (
    page("/webhooks", show_all),
    page("/webhooks/{webhook}", show),
    action("/webhooks/{webhook}/test", test),
    action("/webhooks/{webhook}/deliveries/{delivery}/redeliver", redeliver),
)
OF_EVERYBODY = (page_of_everybody("/webhooks", show_everybodys),)
