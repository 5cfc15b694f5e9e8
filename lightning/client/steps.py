"""The steps that calls are made of, for whoever has a connection, blocking or not.

A call is a generator of steps. A client takes each step and sends what came of
it back in, or throws in what went wrong; the call's result is its return value.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx2

from lightning.client.errors import refused, unreachable, unreadable
from lightning.client.requests import Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """Send a request and give its answer, read in full."""

    request: Request


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Refresh:
    """Renew the access token, unless another call has done so since it was this one."""

    access: str | None


Steps = Generator[Ask | Pause | Refresh, httpx2.Response | None, T]


def ask(url: str, request: Request) -> Steps[Any]:
    """Send a request once, and get the JSON, or bytes, that it is answered with; None if there is no body.

    Raises:
      ClientError: It was refused, or there was no answer.
    """
    try:
        response = yield Ask(request)
    except httpx2.HTTPError as error:
        raise unreachable(url, error) from error
    if response is None:
        raise TypeError("an Ask is answered with a response")
    if not response.is_success:
        raise refused(response)
    if request.gives_bytes:
        return response.content
    try:
        return response.json() if response.content else None
    except ValueError as error:
        raise unreadable(url) from error
