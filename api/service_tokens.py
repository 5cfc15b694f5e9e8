"""`/api/service-tokens`: what somebody gives a program, so that it may do some of what they may."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation, Scope
from api.requests import authenticated, platform, read_form, respond
from lightning.domain.service_tokens import ServiceToken

DAY_SECONDS: Final = 24 * 3600


class ServiceTokenDraft(BaseModel):
    """What a service token shall be called, allow, and how many seconds it shall live."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=50)]
    seconds: Annotated[
        int, Field(ge=60, le=366 * DAY_SECONDS, alias="expiresIn", examples=[90 * DAY_SECONDS])
    ] = 90 * DAY_SECONDS


class ServiceTokenShown(BaseModel):
    """A service token, without the token."""

    id: str
    name: str
    scopes: list[str]
    createdAt: str  # noqa: N815 -- the wire's name
    expiresAt: str  # noqa: N815 -- the wire's name


class ServiceTokenMade(ServiceTokenShown):
    """A service token that was just made; ``token`` is shown this once."""

    token: str


class ServiceTokenList(BaseModel):
    """The caller's service tokens, oldest first."""

    serviceTokens: list[ServiceTokenShown]  # noqa: N815 -- the wire's name


async def make_service_token(request: Request) -> Response:
    """Make a service token."""
    claims = await authenticated(request)
    form = await read_form(request, ServiceTokenDraft)
    identity = platform(request).identity
    made, token = await identity.make_service_token(claims, form.name, form.scopes, form.seconds)
    return respond({**_shown(made), "token": token}, 201, {"location": f"/api/service-tokens/{made.id}"})


async def list_service_tokens(request: Request) -> Response:
    """List the caller's service tokens."""
    claims = await authenticated(request)
    found = await platform(request).identity.service_tokens(claims.subject)
    return respond({"serviceTokens": [_shown(token) for token in found]})


async def get_service_token(request: Request) -> Response:
    """Show a service token of the caller's."""
    claims = await authenticated(request)
    found = await platform(request).identity.service_token(claims.subject, request.path_params["id"])
    return respond(_shown(found))


async def revoke_service_token(request: Request) -> Response:
    """End a service token."""
    claims = await authenticated(request)
    await platform(request).identity.revoke_service_token(claims.subject, request.path_params["id"])
    return Response(status_code=204)


def _shown(token: ServiceToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "createdAt": _moment(token.created_at),
        "expiresAt": _moment(token.expires_at),
    }


def _moment(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).isoformat()


ROUTES = (
    Operation(
        "POST",
        "/api/service-tokens",
        make_service_token,
        summary="Make a service token; it is shown this once.",
        scope="account",
        body=ServiceTokenDraft,
        answers={201: ServiceTokenMade},
        problems={409: ("too_many_service_tokens",), 422: ("invalid_scope",)},
    ),
    Operation(
        "GET",
        "/api/service-tokens",
        list_service_tokens,
        summary="List the caller's service tokens.",
        scope="account",
        answers={200: ServiceTokenList},
    ),
    Operation(
        "GET",
        "/api/service-tokens/{id}",
        get_service_token,
        summary="Show a service token of the caller's.",
        scope="account",
        answers={200: ServiceTokenShown},
    ),
    Operation(
        "DELETE",
        "/api/service-tokens/{id}",
        revoke_service_token,
        summary="End a service token; it is refused within five seconds.",
        scope="account",
        answers={204: None},
    ),
)
