"""How people get in and out, and how they get an account."""

from contextlib import suppress
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.address import origin
from api.dashboard.access import (
    ROOT,
    check_csrf,
    check_own_page,
    field,
    forget_session,
    read_posted,
    set_session,
    view_of,
)
from api.dashboard.page import render, seeing
from api.requests import platform
from lightning.errors import LightningError, NotFound


async def show_login(request: Request) -> Response:
    """Ask for name and password."""
    return _form(request, "login.html")


async def log_in(request: Request) -> Response:
    """Begin a session, and show what was wanted."""
    check_own_page(request)
    parts = platform(request)
    form = await read_posted(request)
    where = origin(request, parts.settings)
    try:
        grant = await parts.identity.open_browser(field(form, "username"), field(form, "password"), where)
    except LightningError as error:
        return _form(request, "login.html", error, username=field(form, "username"))
    answer = seeing(_wanted(field(form, "next")))
    set_session(request, answer, grant)
    return answer


async def log_out(request: Request) -> Response:
    """End the session."""
    check_own_page(request)
    view = await view_of(request)
    check_csrf(view, await read_posted(request))
    with suppress(NotFound):  # it was ended elsewhere meanwhile
        await view.parts.identity.end_session(view.user_id, view.session_id)
    answer = seeing(f"{ROOT}/login")
    forget_session(request, answer)
    return answer


async def show_register(request: Request) -> Response:
    """Ask for the name and password of a new account."""
    return _form(request, "register.html")


async def register(request: Request) -> Response:
    """Make an account, and begin its first session."""
    check_own_page(request)
    parts = platform(request)
    form = await read_posted(request)
    username, password = field(form, "username"), field(form, "password")
    where = origin(request, parts.settings)
    try:
        await parts.identity.register(username, password, where, field(form, "invitation") or None)
        grant = await parts.identity.open_browser(username, password, where)
    except LightningError as error:
        return _form(request, "register.html", error, username=username)
    answer = seeing(f"{ROOT}/")
    set_session(request, answer, grant)
    return answer


def _form(request: Request, template: str, error: LightningError | None = None, **given: Any) -> Response:
    return render(
        template,
        None,
        200 if error is None else error.status,
        registration=platform(request).settings.registration,
        next=_wanted(request.query_params.get("next", "")),
        error=None if error is None else error.message,
        username=given.get("username", ""),
    )


def _wanted(address: str) -> str:
    """Give the page to go to; an address of anywhere else is not one."""
    plain = address.startswith(f"{ROOT}/") and address.isprintable() and "\\" not in address
    return address if plain and "//" not in address else f"{ROOT}/"


ROUTES = (
    Route("/login", show_login, methods=["GET"]),
    Route("/login", log_in, methods=["POST"]),
    Route("/logout", log_out, methods=["POST"]),
    Route("/register", show_register, methods=["GET"]),
    Route("/register", register, methods=["POST"]),
)
