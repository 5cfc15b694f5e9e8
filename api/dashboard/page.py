"""A page: what all of them have around what they show, and what they look like when something is wrong."""

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote, urlencode

import structlog
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from api.dashboard import wording
from api.dashboard.access import (
    ROOT,
    Form,
    View,
    check_csrf,
    check_own_page,
    read_posted,
    view_of,
    view_of_everybody,
)
from api.problems import headers_of
from lightning.errors import LightningError, Unauthorized

_log = structlog.get_logger(__name__)

#: Scripts and styles are files of ours; nothing else is loaded, from nowhere else, in nobody's frame.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: With `no-referrer`, browsers would hide the origin of our own forms, too.
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

Show = Callable[[Request, View], Awaitable[Response]]
Act = Callable[[Request, View, Form], Awaitable[str]]


def page(path: str, show: Show) -> Route:
    """Make the route of a page that is shown to whoever is logged in."""

    async def answer(request: Request) -> Response:
        return await show(request, await view_of(request))

    return Route(path, answer, methods=["GET"])


def page_of_everybody(path: str, show: Show) -> Route:
    """Make the route of a page that shows operators what all users have."""

    async def answer(request: Request) -> Response:
        return await show(request, await view_of_everybody(request))

    return Route(path, answer, methods=["GET"])


def action(path: str, act: Act) -> Route:
    """Make the route of what a form does; ``act`` gives the address to go to then, behind the view's base."""
    return _action(path, act, view_of)


def action_on_everybody(path: str, act: Act) -> Route:
    """Make the route of what a form of operators does to things of several users."""
    return _action(path, act, view_of_everybody)


def _action(path: str, act: Act, look: Callable[[Request], Awaitable[View]]) -> Route:
    async def answer(request: Request) -> Response:
        check_own_page(request)
        view = await look(request)
        form = await read_posted(request)
        check_csrf(view, form)
        address = await act(request, view, form)
        if view.is_elsewhere:
            note_act(view, view.subject, request.url.path)
        return seeing(view.base + address)

    return Route(path, answer, methods=["POST"])


def note_act(view: View, user_id: str, what: str) -> None:
    """Have the log of the platform tell that an operator has acted on what is another user's.

    Parameters:
      view: The operator's.
      user_id: Whose things.
      what: What was done, as the path that was posted to.
    """
    _log.info("operator_acted", operator=view.user_id, user_id=user_id, what=what)


def seeing(address: str) -> Response:
    """Send a browser to another page (RFC 9110, section 15.4.4)."""
    return RedirectResponse(address, 303, {"cache-control": "no-store"})


def render(template: str, view: View | None, status: int = 200, **shown: Any) -> Response:
    """Make a page.

    Parameters:
      template: Its template.
      view: Who looks; None when nobody is logged in.
      status: The status of the response.
      shown: What the template needs.
    """
    body = _pages().get_template(template).render(view=view, root=ROOT, status=status, **shown)
    return Response(body, status, dict(HEADERS), media_type="text/html")


@cache
def _pages() -> Environment:
    pages = Environment(
        loader=PackageLoader("api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    pages.filters.update(wording.FILTERS)
    pages.filters["query"] = address
    return pages


def address(path: str, /, **query: object) -> str:
    """Write an address with what of its query is not empty."""
    given = {name: value for name, value in query.items() if value not in {None, ""}}
    return f"{path}?{urlencode(given)}" if given else path


def _asks_by_script(request: Request) -> bool:
    return request.headers.get("hx-request") == "true"


def _login(request: Request) -> Response:
    """Send somebody to the login, and from there to what they wanted to see."""
    wanted = request.url.path if request.method == "GET" and not _asks_by_script(request) else ""
    login = f"{ROOT}/login" + (f"?next={quote(wanted)}" if wanted.startswith(f"{ROOT}/") else "")
    if _asks_by_script(request):
        # a redirect would be followed behind the page's back
        return Response(status_code=401, headers={"hx-redirect": login, "cache-control": "no-store"})
    return seeing(login)


async def from_lightning_error(request: Request, error: Exception) -> Response:
    """Show an error of ours as a page that says what to do."""
    if not isinstance(error, LightningError):
        raise error
    if isinstance(error, Unauthorized):
        return _login(request)
    answer = await _failed(request, error.status, error.message, error.code)
    answer.headers.update(headers_of(error))
    return answer


async def from_http_exception(request: Request, error: Exception) -> Response:
    """Show that there is no such page."""
    if not isinstance(error, HTTPException):
        raise error
    message = "there is no such page" if error.status_code == HTTPStatus.NOT_FOUND else error.detail
    return await _failed(request, error.status_code, message, "")


async def from_unexpected(request: Request, error: Exception) -> Response:
    """Show that it is our fault, and nothing of what it was; the log has it."""
    _log.error("request_failed", path=request.url.path, exc_info=error)
    return render("error.html", None, 500, message="the platform failed; its log says why", code="")


async def _failed(request: Request, status: int, message: str, code: str) -> Response:
    try:
        view = await view_of(request)
    except LightningError:
        view = None
    template = "error_part.html" if _asks_by_script(request) else "error.html"
    return render(template, view, status, message=message, code=code)


#: Who shows which failure, as `Starlette` takes it.
HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    LightningError: from_lightning_error,
    HTTPException: from_http_exception,
    500: from_unexpected,
}
