"""A route with what it promises, from which `/openapi.json` and the tests of tenancy follow."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

#: What a token may be limited to. A person's own token has all of them.
Scope = Literal[
    "events:read",
    "events:write",
    "conversations:read",
    "conversations:write",
    "webhooks:read",
    "webhooks:write",
    "account",
]

SCOPES: tuple[Scope, ...] = (
    "events:read",
    "events:write",
    "conversations:read",
    "conversations:write",
    "webhooks:read",
    "webhooks:write",
    "account",
)

Endpoint = Callable[[Request], Awaitable[Response]]


class Operation(Route):
    """One method of one path.

    Parameters:
      method: The HTTP method.
      path: The path, its parameters in braces.
      endpoint: Who answers.
      summary: What it is for, in one sentence.
      scope: What a token must allow; None asks for no token.
      body: The pydantic model (or union of models) of the JSON body; None when there is none.
      query: The pydantic model whose fields are the query parameters.
      headers: Request headers that mean something here, each with what.
      answers: For each status of success the model of its JSON body; None when it has none, or
        text that names another media type.
      problems: For each status of failure the codes that only this operation has; those that every
        operation of its kind may answer (401, 403, 404, 405, 413, 503, ...) follow from the rest.
    """

    def __init__(
        self,
        method: str,
        path: str,
        endpoint: Endpoint,
        *,
        summary: str,
        scope: Scope | None,
        body: Any = None,
        query: type[BaseModel] | None = None,
        headers: Mapping[str, str] | None = None,
        answers: Mapping[int, Any],
        problems: Mapping[int, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.summary = summary
        self.scope: Scope | None = scope
        self.body = body
        self.query = query
        self.headers = dict(headers or {})
        self.answers = dict(answers)
        self.problems = {status: tuple(codes) for status, codes in (problems or {}).items()}


class WebSocketOperation(WebSocketRoute):
    """A path that speaks WebSocket.

    Parameters:
      path: The path.
      endpoint: Who speaks.
      summary: What it is for, in one sentence.
      scope: What a token must allow.
      query: The pydantic model whose fields are the query parameters.
      takes: The models of the frames that a client sends.
      gives: The models of the frames that a client gets.
      closes: For each code (RFC 6455, section 7.4) why the server closes with it.
      problems: As of an `Operation`, for an opening that is refused.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[[WebSocket], Awaitable[None]],
        *,
        summary: str,
        scope: Scope,
        query: type[BaseModel],
        takes: Sequence[type[BaseModel]],
        gives: Sequence[type[BaseModel]],
        closes: Mapping[int, str],
        problems: Mapping[int, Sequence[str]],
    ) -> None:
        super().__init__(path, endpoint)
        self.summary = summary
        self.scope: Scope = scope
        self.query = query
        self.takes = tuple(takes)
        self.gives = tuple(gives)
        self.closes = dict(closes)
        self.problems = {status: tuple(codes) for status, codes in problems.items()}
