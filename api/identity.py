"""`/api/register`, `/api/token` and what follows it, `/api/password`, `/api/me`: who somebody is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.address import origin
from api.operation import Operation
from api.requests import authenticated, platform, read_form, respond
from lightning.domain.identity import Tokens

Secret = Annotated[str, StringConstraints(max_length=1024)]


class Credentials(BaseModel):
    """A username and its password."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, StringConstraints(max_length=1024)]
    password: Secret


class Registration(Credentials):
    """The username and password of a new account, and the invitation where one is asked for."""

    invitation: Secret | None = None


class RefreshToken(BaseModel):
    """A refresh token."""

    model_config = ConfigDict(extra="forbid", strict=True)

    refresh_token: Secret


class PasswordChange(BaseModel):
    """The password as it is and as it shall be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    current: Annotated[Secret, Field(alias="currentPassword")]
    new: Annotated[Secret, Field(alias="newPassword")]


class AccountShown(BaseModel):
    """An account, as its owner sees it."""

    userID: str  # noqa: N815 -- the wire's name
    username: str
    role: str


class TokenShown(BaseModel):
    """An access token and the refresh token behind it (the shape of RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    userID: str  # noqa: N815 -- the wire's name
    refresh_token: str
    refresh_expires_in: int


class CallerShown(BaseModel):
    """Who a token stands for."""

    userID: str  # noqa: N815 -- the wire's name
    role: str


def _shown(tokens: Tokens) -> Response:
    return respond(
        {
            "access_token": tokens.access_token,
            "token_type": "Bearer",
            "expires_in": tokens.access_seconds,
            "userID": tokens.user_id,
            "refresh_token": tokens.refresh_token,
            "refresh_expires_in": tokens.refresh_seconds,
        }
    )


async def register(request: Request) -> Response:
    """Create an account."""
    form = await read_form(request, Registration)
    parts = platform(request)
    where = origin(request, parts.settings)
    account = await parts.identity.register(form.username, form.password, where, form.invitation)
    return respond({"userID": account.id, "username": account.username, "role": account.role}, 201)


async def token(request: Request) -> Response:
    """Begin a session: give tokens for a username and password."""
    parts = platform(request)
    form = await read_form(request, Credentials)
    return _shown(await parts.identity.log_in(form.username, form.password, origin(request, parts.settings)))


async def refresh(request: Request) -> Response:
    """Give new tokens for a refresh token; used a second time, it ends its session (RFC 9700)."""
    form = await read_form(request, RefreshToken)
    return _shown(await platform(request).identity.refresh(form.refresh_token))


async def revoke(request: Request) -> Response:
    """End the session of a refresh token; whether there was one is not told (RFC 7009)."""
    form = await read_form(request, RefreshToken)
    await platform(request).identity.revoke(form.refresh_token)
    return Response(status_code=204)


async def password(request: Request) -> Response:
    """Change the password, end every session, and begin a new one."""
    claims = await authenticated(request)
    parts = platform(request)
    form = await read_form(request, PasswordChange)
    where = origin(request, parts.settings)
    return _shown(await parts.identity.change_password(claims, form.current, form.new, where))


async def me(request: Request) -> Response:
    """Tell the caller who they are."""
    # a program asks so for the `userID` that it posts for, whatever else it may do
    claims = await authenticated(request, any_scope=True)
    return respond({"userID": claims.subject, "role": claims.role})


ROUTES = (
    Operation(
        "POST",
        "/api/register",
        register,
        summary="Create an account.",
        scope=None,
        body=Registration,
        answers={201: AccountShown},
        problems={
            403: ("registration_closed", "invitation_required", "invitation_refused"),
            409: ("username_taken",),
            422: ("invalid_account",),
            429: ("too_many_registrations",),
            503: ("busy",),
        },
    ),
    Operation(
        "POST",
        "/api/token",
        token,
        summary="Begin a session: give tokens for a username and password.",
        scope=None,
        body=Credentials,
        answers={200: TokenShown},
        problems={
            401: ("wrong_credentials",),
            403: ("account_disabled",),
            429: ("too_many_attempts",),
            503: ("busy",),
        },
    ),
    Operation(
        "POST",
        "/api/token/refresh",
        refresh,
        summary="Give new tokens for a refresh token, which is then used up.",
        scope=None,
        body=RefreshToken,
        answers={200: TokenShown},
        problems={401: ("invalid_refresh_token",)},
    ),
    Operation(
        "POST",
        "/api/token/revoke",
        revoke,
        summary="End the session of a refresh token.",
        scope=None,
        body=RefreshToken,
        answers={204: None},
    ),
    Operation(
        "POST",
        "/api/password",
        password,
        summary="Change the password, end every session, and begin a new one.",
        scope="account",
        body=PasswordChange,
        answers={200: TokenShown},
        problems={
            403: ("wrong_password", "account_disabled"),
            422: ("invalid_account",),
            429: ("too_many_attempts",),
            503: ("busy",),
        },
    ),
    Operation(
        "GET",
        "/api/me",
        me,
        summary="Tell the caller who they are; a service token needs no scope for it.",
        scope="account",
        answers={200: CallerShown},
    ),
)
