"""What every route needs of a request: who asks, and a body that can be trusted in form."""

import asyncio
from typing import TYPE_CHECKING, cast

import orjson
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from lightning.domain.tokens import Claims
from lightning.errors import InvalidRequest, Unauthorized
from lightning.strict_json import Json, TooLarge, loads

if TYPE_CHECKING:
    from api.platform import Platform

#: The largest body of a request: an event's limit (DESIGN: events).
MAX_BODY_BYTES = 256 * 1024

#: A body that takes longer to arrive is given up, so that slow senders do not pile up.
BODY_SECONDS = 30.0


class BodyTimeout(InvalidRequest):
    """The body did not arrive in time."""

    code = "body_timeout"
    status = 408


def platform(request: HTTPConnection) -> "Platform":
    """Give the parts of the platform that the routes use."""
    return cast("Platform", request.app.state.platform)


async def authenticated(request: HTTPConnection) -> Claims:
    """Tell who asks.

    Raises:
      Unauthorized: There is no bearer token (RFC 6750), or not one of ours for users.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("send a bearer token from POST /api/token", code="token_missing")
    return platform(request).tokens.verify(token.strip(), "user")


async def read_body(request: Request) -> bytes:
    """Read the body up to the limit.

    Raises:
      TooLarge: It is larger; the rest is not read.
      BodyTimeout: It does not arrive.
    """
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise TooLarge(f"the body is over {MAX_BODY_BYTES} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise InvalidRequest("the client left") from None
    return b"".join(chunks)


async def read_json(request: Request) -> Json:
    """Read the body as strict JSON.

    Raises:
      InvalidRequest: It is not; ``code`` says how.
    """
    return loads(await read_body(request), max_bytes=MAX_BODY_BYTES)


def respond(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON response that nobody on the way keeps."""
    return Response(
        orjson.dumps(body),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
