"""`/api/register`, `/api/token`, `/api/me`: who somebody is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import authenticated, platform, read_json, respond
from lightning.errors import Forbidden, InvalidEvent, json_pointer


class Credentials(BaseModel):
    """A username and its password."""

    model_config = ConfigDict(extra="forbid", strict=True)

    username: Annotated[str, StringConstraints(max_length=1024)]
    password: Annotated[str, StringConstraints(max_length=1024)]


class AccountShown(BaseModel):
    """An account, as its owner sees it."""

    userID: str  # noqa: N815 -- the wire's name
    username: str
    role: str


class TokenShown(BaseModel):
    """An access token (the shape of RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    userID: str  # noqa: N815 -- the wire's name


class CallerShown(BaseModel):
    """Who a token stands for."""

    userID: str  # noqa: N815 -- the wire's name
    role: str


async def _credentials(request: Request) -> Credentials:
    raw = await read_json(request)
    try:
        return Credentials.model_validate(raw)
    except ValidationError as error:
        # never the input: it holds a password
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        pointer = json_pointer(first["loc"])
        raise InvalidEvent(first["msg"], code="invalid_field", pointer=pointer) from None


async def register(request: Request) -> Response:
    """Create an account."""
    parts = platform(request)
    if parts.settings.registration == "closed":
        raise Forbidden("registration is closed; ask the operators", code="registration_closed")
    credentials = await _credentials(request)
    account = await parts.accounts.register(credentials.username, credentials.password)
    return respond({"userID": account.id, "username": account.username, "role": account.role}, 201)


async def token(request: Request) -> Response:
    """Give an access token for a username and password (the shape of RFC 6749, section 5.1)."""
    parts = platform(request)
    credentials = await _credentials(request)
    account = await parts.accounts.authenticate(credentials.username, credentials.password)
    return respond(
        {
            "access_token": parts.tokens.issue("user", account.id, role=account.role),
            "token_type": "Bearer",
            "expires_in": parts.tokens.lifetime_seconds,
            "userID": account.id,
        }
    )


async def me(request: Request) -> Response:
    """Tell the caller who they are."""
    claims = await authenticated(request)
    return respond({"userID": claims.subject, "role": claims.role})


ROUTES = (
    Operation(
        "POST",
        "/api/register",
        register,
        summary="Create an account.",
        scope=None,
        body=Credentials,
        answers={201: AccountShown},
        problems={
            403: ("registration_closed",),
            409: ("username_taken",),
            422: ("invalid_account",),
            503: ("busy",),
        },
    ),
    Operation(
        "POST",
        "/api/token",
        token,
        summary="Give an access token for a username and password.",
        scope=None,
        body=Credentials,
        answers={200: TokenShown},
        problems={401: ("wrong_credentials",), 503: ("busy",)},
    ),
    Operation(
        "GET",
        "/api/me",
        me,
        summary="Tell the caller who they are.",
        scope="account",
        answers={200: CallerShown},
    ),
)
