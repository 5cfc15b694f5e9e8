"""A route with what it promises, from which `/openapi.json` and the tests of tenancy follow."""

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from api.problems import ProblemDetails

#: What a token may be limited to. A person's own token has all of them.
Scope = Literal[
    "events:read",
    "events:write",
    "conversations:read",
    "conversations:write",
    "webhooks:read",
    "webhooks:write",
    "repos:read",
    "repos:write",
    "schedules:read",
    "schedules:write",
    "approvals:read",
    "approvals:write",
    "audit:read",
    "account",
]

SCOPES: tuple[Scope, ...] = (
    "events:read",
    "events:write",
    "conversations:read",
    "conversations:write",
    "webhooks:read",
    "webhooks:write",
    "repos:read",
    "repos:write",
    "schedules:read",
    "schedules:write",
    "approvals:read",
    "approvals:write",
    "audit:read",
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
      scope: What a token must allow; None asks for no such token.
      body: The pydantic model (or union of models) of the JSON body, or a mapping of media types to
        models; None when there is none.
      query: The pydantic model whose fields are the query parameters.
      headers: Request headers that mean something here, each with what.
      answers: For each status of success the model of its JSON body; None when it has none, text that
        names another media type, or a mapping of media types to models.
      problems: For each status of failure the codes that only this operation has; those that every
        operation of its kind may answer (`api.failures`) follow from the rest.
      description: What else is to be known; the endpoint's docstring behind its first paragraph by default.
      tag: The resource it belongs to; the name of the endpoint's module by default.
      answer_headers: Headers of the answers of success, each with what it means.
      frames: For a stream, the models of what its frames carry, by the kind of frame.
      raw_body: The endpoint reads the body's bytes itself: of the common problems of a body, those of
        its size and time remain.
      needs_store: Whether the store may be asked, which may not answer.
      for_runs: Whether it asks for the token of a run, and no other will do.
      problem_form: The model of its problems, where they say more than all do.
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
        description: str | None = None,
        tag: str | None = None,
        answer_headers: Mapping[str, str] | None = None,
        frames: Mapping[str, Any] | None = None,
        raw_body: bool = False,
        needs_store: bool = True,
        for_runs: bool = False,
        problem_form: type[ProblemDetails] = ProblemDetails,
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
        self.description = _behind_the_first(endpoint.__doc__) if description is None else description
        self.tag = endpoint.__module__.rpartition(".")[2] if tag is None else tag
        self.answer_headers = dict(answer_headers or {})
        self.frames = dict(frames or {})
        self.raw_body = raw_body
        self.needs_store = needs_store
        self.for_runs = for_runs
        self.problem_form = problem_form

    @property
    def path_parameters(self) -> list[str]:
        """Name the parameters in the path, in order."""
        return re.findall(r"\{(\w+)(?::\w+)?\}", self.path)


def _behind_the_first(docstring: str | None) -> str:
    """Give the paragraphs of a docstring behind its first, up to its sections."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")[1:]
    plain = re.split(r"^(?:Parameters|Returns|Raises):$", "\n\n".join(paragraphs), flags=re.MULTILINE)[0]
    return plain.replace("``", "`").strip()


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
      refusals: The codes of the problems of a frame, besides those of an event that is posted.
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
        refusals: Sequence[str],
        problems: Mapping[int, Sequence[str]],
    ) -> None:
        super().__init__(path, endpoint)
        self.takes = tuple(takes)
        self.gives = tuple(gives)
        self.closes = dict(closes)
        self.refusals = tuple(refusals)
        #: The request that opens it, as the operation that it is.
        self.opening = Operation(
            "GET",
            path,
            _unreachable,
            summary=summary,
            scope=scope,
            query=query,
            headers={
                "Sec-WebSocket-Protocol": "The subprotocol, and perhaps a stream token behind it.",
                "Origin": "Of a browser's page: the ingress's own, or one of `LIGHTNING_ALLOWED_ORIGINS`.",
            },
            answers={101: None},
            problems={**problems, 404: ("not_found",)},
            description=_behind_the_first(endpoint.__doc__),
            tag=endpoint.__module__.rpartition(".")[2],
        )
        self.scope = self.opening.scope


async def _unreachable(_request: Request) -> Response:
    raise AssertionError("an opening is answered by its WebSocket")
