"""`/api/stream-token`: a short token that opens streams and nothing else, for what sends no headers."""

import time

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import authenticated, platform, respond
from api.stream_access import COOKIE
from api.streams import until

#: Time enough to open a stream; the stream itself lasts as long as the access token.
LIFETIME_SECONDS = 60


class StreamTokenShown(BaseModel):
    """A token that opens streams; a cookie with it is set as well."""

    stream_token: str
    expires_in: int


async def stream_token(request: Request) -> Response:
    """Give a token that opens streams, in the body and as a cookie that pages cannot read."""
    claims = await authenticated(request)
    seconds = max(1, min(LIFETIME_SECONDS, int(until(claims) - time.time())))
    token = platform(request).tokens.issue(
        "stream",
        claims.subject,
        role=claims.role,
        lifetime_seconds=seconds,
        claims={**claims.extra, "until": claims.expires_at},
    )
    answer = respond({"stream_token": token, "expires_in": seconds}, 201)
    answer.set_cookie(
        COOKIE,
        token,
        max_age=seconds,
        path="/api",
        secure=is_https(request),
        httponly=True,
        samesite="strict",
    )
    return answer


def is_https(request: Request) -> bool:
    """Tell whether the client speaks HTTPS, to us or to a proxy; a false claim only harms who makes it."""
    forwarded = request.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
    return "https" in {request.url.scheme, forwarded}


ROUTES = (
    Operation(
        "POST",
        "/api/stream-token",
        stream_token,
        summary="Give a short token that opens streams, also as a cookie, for browsers.",
        scope="events:read",
        answers={201: StreamTokenShown},
    ),
)
