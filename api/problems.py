"""Errors as people and programs see them: problem details (RFC 9457)."""

import math
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Annotated, Any, Final

import orjson
import structlog
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from lightning.errors import LightningError, Transient, Unauthorized

_log = structlog.get_logger(__name__)

#: The names that HTTP itself gives to what Starlette refuses.
_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request"}


class ProblemDetails(BaseModel):
    """Why a request failed (RFC 9457): ``code`` is for programs, ``detail`` for people.

    ``pointer`` is there when one field of the body is at fault (RFC 6901).
    """

    type: Annotated[str, Field(examples=["urn:lightning:problem:not_found"])]
    title: Annotated[str, Field(examples=["Not Found"])]
    status: Annotated[int, Field(examples=[404])]
    code: Annotated[str, Field(examples=["not_found"])]
    detail: Annotated[str, Field(examples=["there is no such event, or it is not yours"])]
    pointer: str = ""


def details(status: int, code: str, detail: str, *, pointer: str | None = None) -> dict[str, Any]:
    """Describe a problem.

    Parameters:
      status: The HTTP status.
      code: Our word for the case; ``type`` is the URN made of it.
      detail: What happened and what to do, for a person.
      pointer: JSON pointer (RFC 6901) to the field at fault.
    """
    body: dict[str, Any] = {
        "type": f"urn:lightning:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if pointer is not None:
        body["pointer"] = pointer
    return body


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    pointer: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make a problem response; see `details`."""
    body = details(status, code, detail, pointer=pointer)
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


def from_lightning_error(_request: Request, error: Exception) -> Response:
    """Show an error of ours."""
    if not isinstance(error, LightningError):
        raise error
    return refusal(error)


def refusal(error: LightningError) -> Response:
    """Make the problem response of an error of ours."""
    return problem(error.status, error.code, error.message, pointer=error.pointer, headers=headers_of(error))


def headers_of(error: LightningError) -> dict[str, str]:
    """Give the headers that say more about an error of ours."""
    headers: dict[str, str] = {}
    if isinstance(error, Transient):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after or 1)))
    if isinstance(error, Unauthorized):
        headers["www-authenticate"] = "Bearer"
    return headers


def from_http_exception(request: Request, error: Exception) -> Response:
    """Show what Starlette refused: no such route, no such method."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        error.headers = {"allow": ", ".join(_allowed(request))}
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(error.status_code, code, error.detail, headers=error.headers)


def _allowed(request: Request) -> list[str]:
    """List the methods of every route of this path; Starlette names those of the first one only."""
    allowed: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            allowed |= route.methods or set()
    return sorted(allowed)


def from_unexpected(request: Request, error: Exception) -> Response:
    """Show that it is our fault, and nothing of what it was; the log has it."""
    _log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(500, "internal", "the platform failed; the operators can see why")


#: Who shows which failure, as `Starlette` takes it.
HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Response]]] = {
    LightningError: from_lightning_error,
    404: from_http_exception,
    405: from_http_exception,
    400: from_http_exception,
    500: from_unexpected,
}
