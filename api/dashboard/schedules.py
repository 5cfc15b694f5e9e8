"""The schedules: when they fire next, what they have fired, and whether they go on."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View
from api.dashboard.everybody import names_of
from api.dashboard.page import action, page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.events import MAX_PLACE
from api.requests import whole_number
from api.schedule_fires import fire_now
from api.schedule_shown import fire_shown, shown
from api.schedules import resume
from lightning.domain.fires import fires_of
from lightning.domain.schedule import Schedule

PAGE: Final = 50


async def show_all(request: Request, view: View) -> Response:
    """Show a page of schedules."""
    with pages_end():
        found, following = await view.parts.schedules.of(view.owner, limit=PAGE, page=page_token(request))
    listed = [shown(each, foreseen=1) for each in found]
    names = await names_of(view, (each.user_id for each in found))
    is_first = page_token(request) is None
    return render("schedules.html", view, listed=listed, names=names, next=following, is_first=is_first)


async def show(request: Request, view: View) -> Response:
    """Show a schedule, its next fires, and a page of what it fired."""
    schedule = await _own(request, view)
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    fires = await fires_of(view.parts.log, view.subject, schedule.id, before=before, limit=PAGE)
    return render(
        "schedule.html",
        view,
        schedule=shown(schedule),
        fires=[fire_shown(each) for each in fires.ticks],
        older=fires.ticks[-1]["seq"] if fires.more else None,
    )


async def pause(request: Request, view: View, _form: Form) -> str:
    """Let a schedule fire nothing."""
    schedule = await _own(request, view)
    await view.parts.schedules.pause(view.subject, schedule.id)
    return f"/schedules/{schedule.id}"


async def resume_one(request: Request, view: View, _form: Form) -> str:
    """Let a schedule fire again."""
    schedule = await _own(request, view)
    await resume(view.parts, schedule)
    return f"/schedules/{schedule.id}"


async def run(request: Request, view: View, _form: Form) -> str:
    """Have a schedule fire now."""
    schedule = await _own(request, view)
    await fire_now(view.parts, schedule)
    return f"/schedules/{schedule.id}"


async def _own(request: Request, view: View) -> Schedule:
    return await view.parts.schedules.get(view.subject, request.path_params["id"])


ROUTES = (
    page("/schedules", show_all),
    page("/schedules/{id}", show),
    action("/schedules/{id}/pause", pause),
    action("/schedules/{id}/resume", resume_one),
    action("/schedules/{id}/run", run),
)
OF_EVERYBODY = (page_of_everybody("/schedules", show_all),)
