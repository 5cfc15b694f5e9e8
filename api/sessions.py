"""`/api/sessions`: where somebody is logged in."""

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import authenticated, platform, respond


class SessionShown(BaseModel):
    """A log-in that has not ended; ``current`` is the one that asks."""

    id: str
    createdAt: str  # noqa: N815 -- the wire's name
    usedAt: str  # noqa: N815 -- the wire's name
    expiresAt: str  # noqa: N815 -- the wire's name
    address: str
    agent: str
    current: bool


class SessionList(BaseModel):
    """The caller's sessions, the one that was used last first."""

    sessions: list[SessionShown]


async def list_sessions(request: Request) -> Response:
    """List where the caller is logged in."""
    claims = await authenticated(request)
    found = await platform(request).identity.sessions(claims.subject)
    shown = [
        {
            "id": session.id,
            "createdAt": session.created_at,
            "usedAt": session.used_at,
            "expiresAt": session.expires_at,
            "address": session.address,
            "agent": session.agent,
            "current": session.id == claims.session,
        }
        for session in found
    ]
    return respond({"sessions": shown})


async def end_session(request: Request) -> Response:
    """Log out somewhere: its tokens are refused within five seconds."""
    claims = await authenticated(request)
    await platform(request).identity.end_session(claims.subject, request.path_params["id"])
    return Response(status_code=204)


ROUTES = (
    Operation(
        "GET",
        "/api/sessions",
        list_sessions,
        summary="List where the caller is logged in.",
        scope="account",
        answers={200: SessionList},
    ),
    Operation(
        "DELETE",
        "/api/sessions/{id}",
        end_session,
        summary="End a session; its tokens are refused within five seconds.",
        scope="account",
        answers={204: None},
    ),
)
