"""Failures of the model gateway: problem details (RFC 9457) that hold OpenAI's error object too.

So SDKs of OpenAI, in every language, find what they look for, and everybody else what all routes answer.
https://platform.openai.com/docs/guides/error-codes
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import orjson
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.problems import ProblemDetails, details, headers_of
from lightning.errors import LightningError

#: Of our codes: the status and the code that OpenAI's servers answer.
_WORDS: Final[Mapping[str, tuple[int, str]]] = {
    "model_rate_limited": (429, "rate_limit_exceeded"),
    "model_timeout": (504, "model_timeout"),
    "context_too_long": (400, "context_length_exceeded"),
    "model_refused": (400, "model_refused"),
    "model_quota_exhausted": (429, "insufficient_quota"),
    "model_credentials_refused": (502, "model_credentials_refused"),
    "model_not_configured": (502, "model_not_configured"),
}

#: SDKs of OpenAI would try these again by their status; `x-should-retry` tells them not to.
_FINAL: Final = frozenset({"model_quota_exhausted", "model_credentials_refused", "model_not_configured"})


class OpenAIError(BaseModel):
    """The error as SDKs of OpenAI read it."""

    message: str
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: str | None
    code: str


class ModelProblem(ProblemDetails):
    """Why a model call failed, for everybody (RFC 9457) and, in ``error``, for SDKs of OpenAI."""

    error: OpenAIError


def error_of(error: LightningError) -> tuple[int, dict[str, Any]]:
    """Give the status of a failure, and the body that says it."""
    status, word = _WORDS.get(error.code, (error.status, error.code))
    told = {
        "message": error.message,
        "type": _type(status, word),
        "param": None if error.pointer is None else error.pointer.removeprefix("/").replace("/", "."),
        "code": word,
    }
    return status, {**details(status, error.code, error.message, pointer=error.pointer), "error": told}


def failed(error: LightningError) -> Response:
    """Make the response of a failure."""
    status, body = error_of(error)
    headers = headers_of(error)
    if status == 429 and "retry-after" not in headers:
        headers["retry-after"] = "60"
    if error.code in _FINAL:
        headers["x-should-retry"] = "false"
    return Response(orjson.dumps(body), status, headers, media_type="application/problem+json")


def _type(status: int, word: str) -> str:
    if word in {"budget_exhausted", "insufficient_quota"}:
        return word
    if status == 429:
        return "requests"
    return "invalid_request_error" if status < 500 else "server_error"
