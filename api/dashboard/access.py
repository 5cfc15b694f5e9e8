"""Who looks at a page, at whose things, and whether it was a page of ours that asked."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from api.platform import Platform
from api.requests import platform, read_body
from api.stream_access import host_of
from api.stream_token import is_https
from lightning.domain.browser_sessions import BrowserGrant
from lightning.errors import Forbidden, InvalidRequest, NotFound, Unauthorized

#: Where the pages are.
ROOT: Final = "/dashboard"

#: Where operators have the lists of what is everybody's.
EVERYBODY: Final = f"{ROOT}/all"

#: A browser keeps a cookie of the first name only from https, for this very host and the whole of it
#: (RFC 6265bis, section 4.1.3.2); the other serves plain http, as on loopback.
SECURE_COOKIE: Final = "__Host-lightning"
PLAIN_COOKIE: Final = "lightning_dashboard"

#: The field of every form that says that a page of this session asks.
CSRF_FIELD: Final = "csrf"

_MAX_FORM_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class View:
    """Who looks, and at whose things.

    Parameters:
      parts: The platform.
      user_id: Who looks.
      username: Their name.
      role: ``user``, ``operator`` or ``service``.
      session_id: Their session.
      csrf: What forms of this session have in `CSRF_FIELD`.
      subject: Whose things are shown: their own, or those of whom an operator has chosen.
      subject_name: The name of that one.
      base: What the addresses of these pages begin with.
      everybody: Lists are of what all users have, as an operator has chosen.
    """

    parts: Platform
    user_id: str
    username: str
    role: str
    session_id: str
    csrf: str
    subject: str
    subject_name: str
    base: str = ROOT
    everybody: bool = False

    @property
    def owner(self) -> str | None:
        """Whose things a list shows; None is everybody's."""
        return None if self.everybody else self.subject

    @property
    def is_operator(self) -> bool:
        """Whether everything may be seen."""
        return self.role == "operator"

    @property
    def is_elsewhere(self) -> bool:
        """Whether these are the things of somebody else."""
        return self.subject != self.user_id

    def at(self, user_id: str) -> str:
        """Give what the addresses of one user's things begin with."""
        if not self.everybody:
            return self.base
        return ROOT if user_id == self.user_id else f"{ROOT}/u/{user_id}"


Form = Mapping[str, list[str]]


async def view_of(request: Request) -> View:
    """Tell who looks, and at whose things.

    Raises:
      Unauthorized: They are not logged in.
      NotFound: They may not see the things of this user, or there is no such user.
    """
    parts = platform(request)
    cookie = request.cookies.get(cookie_name(request))
    if cookie is None:
        raise Unauthorized("log in first", code="token_missing")
    caller = await parts.identity.browser(cookie)
    account = caller.account
    csrf = sha256(f"csrf.{caller.secret}".encode()).hexdigest()
    name = account.username
    own = View(parts, account.id, name, account.role, caller.session_id, csrf, account.id, name)
    subject = request.path_params.get("user")
    return own if subject is None else await _of(own, subject)


async def view_of_everybody(request: Request) -> View:
    """Tell which operator looks at what all users have.

    Raises:
      Unauthorized: They are not logged in.
      NotFound: They are no operator.
    """
    own = await view_of(request)
    if not own.is_operator:
        raise NotFound("there is no such page, or it is not yours")
    return replace(own, base=EVERYBODY, everybody=True)


async def _of(own: View, subject: str) -> View:
    account = await own.parts.accounts.read(subject) if own.is_operator else None
    if account is None:
        raise NotFound("there is no such page, or it is not yours")
    return replace(own, subject=account.id, subject_name=account.username, base=f"{ROOT}/u/{account.id}")


async def read_posted(request: Request) -> Form:
    """Read the body of a form.

    Raises:
      InvalidRequest: It is no form.
    """
    body = await read_body(request, max_bytes=_MAX_FORM_BYTES)
    try:
        return parse_qs(body.decode(), keep_blank_values=True, max_num_fields=500)
    except ValueError:
        raise InvalidRequest("the body is no form; go back and try again") from None


def field(form: Form, name: str) -> str:
    """Give a field of a form, which is empty where there is none."""
    return form.get(name, [""])[0]


def check_csrf(view: View, form: Form) -> None:
    """Check that a form is one of this session's pages.

    Raises:
      Forbidden: It is not (``foreign_form``).
    """
    if not hmac.compare_digest(field(form, CSRF_FIELD).encode(), view.csrf.encode()):
        raise Forbidden("this form is of another session; load the page again", code="foreign_form")


def check_own_page(request: Request) -> None:
    """Check that no page of another site asks: a browser says so, of its own accord, with each form.

    Raises:
      Forbidden: One does (``foreign_origin``).
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        own = site in {"same-origin", "none"}
    else:
        own = origin is None or host_of(origin) == request.headers.get("host", "").lower()
    if not own:
        raise Forbidden("a page of another site has sent this; nothing was done", code="foreign_origin")


def cookie_name(request: Request) -> str:
    """Give the name of the cookie of a session."""
    return SECURE_COOKIE if is_https(request) else PLAIN_COOKIE


def set_session(request: Request, answer: Response, grant: BrowserGrant) -> None:
    """Have the browser keep a session, where no script reads it and no other site's form takes it along."""
    answer.set_cookie(
        cookie_name(request),
        grant.cookie,
        max_age=grant.seconds,
        path="/",
        secure=is_https(request),
        httponly=True,
        samesite="lax",
    )


def forget_session(request: Request, answer: Response) -> None:
    """Have the browser forget its session."""
    name = cookie_name(request)
    answer.delete_cookie(name, path="/", secure=is_https(request), httponly=True, samesite="lax")
