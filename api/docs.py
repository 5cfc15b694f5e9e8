"""`/openapi.json` and `/docs`: the API as programs and as people read it."""

import asyncio
import base64
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api.openapi import JSON, document
from api.operation import Operation
from api.reference import render

#: Nothing but the page's own style: no script, no picture, no other host, in no frame.
_POLICY = (
    "default-src 'none'; style-src '{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True)
class Publication:
    """What is the same for everybody until the next release.

    Parameters:
      body: Its bytes.
      media_type: What they are.
      headers: Further headers.
    """

    body: bytes
    media_type: str
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @cached_property
    def etag(self) -> str:
        """Give the strong validator of these bytes (RFC 9110, section 8.8.3)."""
        return f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'

    def answer(self, request: Request) -> Response:
        """Answer a request: 304 without a body when the client has these bytes."""
        headers = {"etag": self.etag, "cache-control": "no-cache", **self.headers}
        known = [
            tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")
        ]
        if self.etag in known or "*" in known:
            return Response(status_code=304, headers=headers)
        return Response(self.body, headers=headers, media_type=self.media_type)


class Reference:
    """The description of an API in both its forms, made once.

    Parameters:
      routes: What is described.
    """

    def __init__(self, routes: Iterable[BaseRoute]) -> None:
        described = document(routes)
        page, style = render(described)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = {"content-security-policy": _POLICY.format(style=f"sha256-{digest}")}
        self.openapi = Publication(orjson.dumps(described), JSON)
        self.docs = Publication(
            page.encode(),
            "text/html",
            {**policy, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"},
        )


class LateReference:
    """Has the description made when somebody first asks for it, on a thread: others are answered meanwhile.

    At the start it would be most of the time until an ingress answers, which matters when it was killed.

    Parameters:
      make: Makes it.
    """

    def __init__(self, make: Callable[[], Reference]) -> None:
        self._make = make
        self._making = asyncio.Lock()
        self._made: Reference | None = None

    async def get(self) -> Reference:
        """Give it; whoever asks while it is being made waits."""
        async with self._making:
            if self._made is None:
                self._made = await asyncio.to_thread(self._make)
            return self._made


async def _reference(request: Request) -> Reference:
    return await cast("LateReference", request.app.state.reference).get()


async def openapi(request: Request) -> Response:
    """Describe the API for programs (OpenAPI 3.1)."""
    return (await _reference(request)).openapi.answer(request)


async def docs(request: Request) -> Response:
    """Show the API to people, as a page that needs neither script nor network."""
    return (await _reference(request)).docs.answer(request)


_ETAG = {"ETag": "The version of what is answered."}
_IF_NONE_MATCH = {"If-None-Match": "An `ETag` seen before; 304 when nothing has changed since."}

ROUTES = (
    Operation(
        "GET",
        "/openapi.json",
        openapi,
        summary="Describe the API for programs (OpenAPI 3.1).",
        scope=None,
        headers=_IF_NONE_MATCH,
        answers={200: dict[str, Any], 304: None},
        answer_headers=_ETAG,
        needs_store=False,
    ),
    Operation(
        "GET",
        "/docs",
        docs,
        summary="Show the API to people.",
        scope=None,
        headers=_IF_NONE_MATCH,
        answers={200: "text/html", 304: None},
        answer_headers=_ETAG,
        needs_store=False,
    ),
)
