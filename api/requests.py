"""What every route needs of a request: who asks, and a body that can be trusted in form."""

import asyncio
from typing import TYPE_CHECKING, TypeVar, cast

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response

from lightning.domain.tokens import Claims
from lightning.errors import Forbidden, InvalidEvent, InvalidRequest, Unauthorized, json_pointer
from lightning.strict_json import Json, TooLarge, loads

if TYPE_CHECKING:
    from api.platform import Platform

#: The largest body of a request: an event's limit (DESIGN: events).
MAX_BODY_BYTES = 256 * 1024

JSON = "application/json"

#: A body that takes longer to arrive is given up, so that slow senders do not pile up.
BODY_SECONDS = 30.0


class BodyTimeout(InvalidRequest):
    """The body did not arrive in time."""

    code = "body_timeout"
    status = 408


class UnsupportedMediaType(InvalidRequest):
    """The body is of a kind that is not taken here."""

    code = "unsupported_media_type"
    status = 415


def platform(request: HTTPConnection) -> "Platform":
    """Give the parts of the platform that the routes use."""
    return cast("Platform", request.app.state.platform)


async def authenticated(request: HTTPConnection, *, any_scope: bool = False) -> Claims:
    """Tell who asks, and check that the token allows what this route does.

    Parameters:
      request: The request, with the route that it was given to.
      any_scope: Whether a service token is welcome whatever its scopes.

    Raises:
      Unauthorized: There is no bearer token (RFC 6750), or not one of ours, or one that was revoked.
      Forbidden: It is a service token without the scope of the route (``scope_missing``).
    """
    token = bearer_token(request, "from POST /api/token")
    claims = await platform(request).identity.caller(token)
    if not any_scope:
        check_scope(claims, getattr(request.scope.get("route"), "scope", None))
    return claims


def bearer_token(request: HTTPConnection, where: str) -> str:
    """Give the token that a request shows.

    Parameters:
      request: The request.
      where: Where its sender has such a token from, as in ``from POST /api/token``.

    Raises:
      Unauthorized: It shows none (RFC 6750).
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized(f"send a bearer token {where}", code="token_missing")
    return token.strip()


def check_scope(claims: Claims, needed: str | None) -> None:
    """Check that a token allows something; a person's own allows all.

    Raises:
      Forbidden: It is a service token without the scope (``scope_missing``).
    """
    if claims.scopes is not None and needed not in claims.scopes:
        message = f"the service token lacks the scope {needed!r}; make one that has it"
        raise Forbidden(message, code="scope_missing")


Form = TypeVar("Form", bound=BaseModel)


async def read_form(request: Request, form: type[Form]) -> Form:
    """Read the body as a form that may hold secrets.

    Raises:
      InvalidRequest: It is no JSON of ours.
      InvalidEvent: A field is missing, unknown or wrong (``invalid_field``); its value is not repeated.
    """
    return checked(await read_json(request), form)


def checked(raw: Json, form: type[Form]) -> Form:
    """Check what was read as a form that may hold secrets.

    Raises:
      InvalidEvent: A field is missing, unknown or wrong (``invalid_field``); its value is not repeated.
    """
    try:
        return form.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        pointer = json_pointer(first["loc"])
        raise InvalidEvent(
            first["msg"].removeprefix("Value error, "), code="invalid_field", pointer=pointer
        ) from None


def media_type(request: Request) -> str:
    """Tell the kind of the body: the media type in lower case without parameters; JSON when none is given.

    Raises:
      UnsupportedMediaType: There are several, or its characters are not in UTF-8 (RFC 8259, section 8.1).
    """
    given = request.headers.getlist("content-type")
    if len(given) > 1:
        raise UnsupportedMediaType("send one Content-Type")
    kind, _, parameters = "".join(given).lower().partition(";")
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in {"utf-8", "utf8", "us-ascii"}:
            raise UnsupportedMediaType("the body must be in UTF-8; leave out the charset")
    return kind.strip() or JSON


async def read_body(
    request: Request,
    *,
    max_bytes: int = MAX_BODY_BYTES,
    array_bytes: int | None = None,
    seconds: float = BODY_SECONDS,
) -> bytes:
    """Read the body up to the limit.

    Parameters:
      request: The request.
      max_bytes: The limit.
      array_bytes: That of a body that begins as a JSON array does, if it is another.
      seconds: How long it may take.

    Raises:
      TooLarge: It is larger; the rest is not read.
      BodyTimeout: It does not arrive.
    """
    chunks: list[bytes] = []
    size, first = 0, b""
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                first = first or chunk.lstrip()[:1]
                limit = array_bytes if array_bytes is not None and first == b"[" else max_bytes
                if size > limit:
                    raise TooLarge(f"the body is over {limit} bytes")
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTimeout(f"the body did not arrive within {seconds:.0f} seconds") from None
    except ClientDisconnect:
        raise InvalidRequest("the client left") from None
    return b"".join(chunks)


async def read_json(request: Request) -> Json:
    """Read the body as strict JSON.

    Raises:
      InvalidRequest: It is not; ``code`` says how.
    """
    return loads(await read_body(request), max_bytes=MAX_BODY_BYTES)


def read_query(request: HTTPConnection, form: type[Form]) -> Form:
    """Read the query parameters that a form knows; others mean nothing.

    Raises:
      InvalidRequest: One is missing or wrong (``invalid_parameter``); its value is not repeated.
    """
    given = {name: value for name, value in request.query_params.items() if name in form.model_fields}
    numbers = [name for name, field in form.model_fields.items() if field.annotation is int]
    wrong = next((name for name in numbers if not _is_whole(given.get(name, "0"))), None)
    if wrong is not None:
        raise InvalidRequest(f"the parameter {wrong} is a whole number", code="invalid_parameter")
    try:
        return form.model_validate_strings(given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        message = f"the parameter {first['loc'][0]}: {first['msg']}"
        raise InvalidRequest(message, code="invalid_parameter") from None


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def whole_number(request: HTTPConnection, name: str, default: int, *, lowest: int = 0, highest: int) -> int:
    """Read a query parameter that is a whole number.

    Raises:
      InvalidRequest: It is not, or out of range.
    """
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (_is_whole(text) and lowest <= int(text) <= highest):
        raise InvalidRequest(
            f"the parameter {name} is a whole number from {lowest} to {highest}",
            code="invalid_parameter",
        )
    return int(text)


def respond(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON response that nobody on the way keeps."""
    return Response(
        orjson.dumps(body),
        status,
        {"cache-control": "no-store", **(headers or {})},
        media_type="application/json",
    )
