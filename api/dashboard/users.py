"""The users and what limits them, for operators."""

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View
from api.dashboard.everybody import holdings
from api.dashboard.page import action, page, render
from api.dashboard.pages_of import page_token, pages_end
from lightning.errors import Conflict, NotFound
from lightning.settings import Settings

#: The settings that bound what users may do.
LIMITS = (
    "registration",
    "registrations",
    "token_seconds",
    "refresh_seconds",
    "session_seconds",
    "login_failures",
    "login_account_failures",
    "login_address_failures",
    "login_window_seconds",
    "streams_per_user",
    "schedules_per_user",
    "run_calls_per_second",
    "bulk_above",
    "budget_tokens",
    "budget_container_seconds",
    "budget_wall_seconds",
)


async def show(request: Request, view: View) -> Response:
    """Show a page of users, and the limits that hold for all."""
    _check_operator(view)
    with pages_end():
        listed, following = await holdings(view.parts, page_token(request))
    limits = [_limit(view.parts.settings, name) for name in LIMITS]
    return render("users.html", view, listed=listed, next=following, limits=limits)


async def disable(request: Request, view: View, _form: Form) -> str:
    """Disable an account, which ends its sessions."""
    return await _set_disabled(request, view, disabled=True)


async def enable(request: Request, view: View, _form: Form) -> str:
    """Enable an account again."""
    return await _set_disabled(request, view, disabled=False)


async def _set_disabled(request: Request, view: View, *, disabled: bool) -> str:
    _check_operator(view)
    account = await view.parts.accounts.read(request.path_params["id"])
    if account is None:
        raise NotFound("there is no such user")
    if account.id == view.user_id:
        raise Conflict("this is you; another operator may do so", code="own_account")
    await view.parts.accounts.set_disabled(account.username, disabled=disabled)
    return "/users"


def _check_operator(view: View) -> None:
    if not view.is_operator:
        raise NotFound("there is no such page, or it is not yours")


def _limit(settings: Settings, name: str) -> tuple[str, str, object]:
    """Give the name of a limit in the environment, what it is for, and what it is."""
    field = Settings.model_fields[name]
    return str(field.validation_alias), field.description or "", getattr(settings, name)


ROUTES = (
    page("/users", show),
    action("/users/{id}/disable", disable),
    action("/users/{id}/enable", enable),
)
