"""The description of the API (OpenAPI 3.1), made from the route table and its models."""

import re
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from inspect import cleandoc, getmodule
from typing import Any

from starlette.routing import BaseRoute

from api.accepting import MAX_KEY_CHARACTERS
from api.examples import examples_of
from api.failures import RETRY_LATER, failures
from api.operation import SCOPES, Operation, WebSocketOperation
from api.problems import ProblemDetails
from api.schemas import Schema, Schemas

JSON = "application/json"
PROBLEM = "application/problem+json"
STREAM = "text/event-stream"

#: The name of the distribution, whose version the API has.
DISTRIBUTION = "lightning-fleet"

_DESCRIPTION = """\
Post an event; it is recorded durably, workers act on it, and what follows stands in the same log.

Every failure is a problem (RFC 9457, `application/problem+json`) whose `code` never changes its meaning. An
unknown path is 404 `not_found`, another method on a known one 405 `method_not_allowed`.

Bodies are strict JSON: at most 256 KiB and 32 levels deep, UTF-8, no key twice in an object, no number that a
double or 64 bits cannot hold."""

_STREAM_DESCRIPTION = (
    "Server-sent events (HTML standard, section 9.2), without end: each frame is an `event`, an `id` and one"
    " line of JSON `data`. Lines that begin with a colon only keep the connection open."
)


def document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Describe the operations of an API.

    Parameters:
      routes: Its routes, in the order in which people should read about them.

    Returns:
      An OpenAPI 3.1 document, its schemas of JSON Schema 2020-12.
    """
    routes = list(routes)
    sockets = {each.path: each for each in routes if isinstance(each, WebSocketOperation)}
    operations = [route for route in routes if isinstance(route, Operation)]
    operations += [socket.opening for socket in sockets.values()]
    schemas = Schemas(_types(operations, sockets.values()))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = re.sub(r":\w+}", "}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, path, schemas)
    for path, socket in sockets.items():
        paths[path]["get"]["x-websocket"] = _frames_of(socket, schemas)
    for query in {operation.query for operation in operations} - {None}:
        schemas.drop(query)  # it is told as parameters
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Lightning",
            "version": version(DISTRIBUTION),
            "description": _DESCRIPTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/", "description": "This ingress"}],
        "tags": _tags(operations),
        "paths": paths,
        "components": {"schemas": schemas.components, "securitySchemes": _tokens()},
        "x-event-types": schemas.event_types(),
    }


def _types(operations: Sequence[Operation], sockets: Iterable[WebSocketOperation]) -> Iterable[Any]:
    yield ProblemDetails
    yield from {operation.problem_form: None for operation in operations}
    for socket in sockets:
        yield from (*socket.takes, *socket.gives)
    for operation in operations:
        if operation.query is not None:
            yield operation.query
        for content in (operation.body, *operation.answers.values(), operation.frames):
            yield from (each for each in contents(content).values() if each is not None)


def contents(described: Any) -> Mapping[str, Any]:
    """Give the model of each media type in which a body or answer may come; None where it is no JSON."""
    if described is None:
        return {}
    if isinstance(described, Mapping):
        return dict(described)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return {described: None} if isinstance(described, str) else {JSON: described}


def _tags(operations: Sequence[Operation]) -> list[dict[str, str]]:
    """Name the resources; what each is for stands at the top of its module."""
    tags: dict[str, str] = {}
    for operation in operations:
        module = getmodule(operation.endpoint)
        first = cleandoc((module and module.__doc__) or "").partition("\n\n")[0]
        purpose = " ".join(first.rpartition("`: ")[2].replace("``", "`").split())
        tags.setdefault(operation.tag, purpose[:1].upper() + purpose[1:])
    return [{"name": name, "description": purpose} for name, purpose in tags.items()]


def _tokens() -> dict[str, dict[str, str]]:
    scopes = ", ".join(f"`{scope}`" for scope in SCOPES)
    bearer = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    person = f"A token from `POST /api/token`. It may be limited to some of the scopes {scopes}."
    run = "What a run finds in `LIGHTNING_RUN_TOKEN`; it is good while the run goes on."
    return {"bearer": {**bearer, "description": person}, "run": {**bearer, "description": run}}


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    if operation.for_runs:
        return [{"run": []}]
    return [] if operation.scope is None else [{"bearer": [operation.scope]}]


def _operation(operation: Operation, path: str, schemas: Schemas) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation_id(operation.method, path),
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": operation.description,
        "security": _security(operation),
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, schemas),
    }
    if operation.body is not None:
        described["requestBody"] = {"required": True, "content": _content(operation.body, schemas)}
    return {name: value for name, value in described.items() if value not in ("", []) or name == "security"}


def operation_id(method: str, path: str) -> str:
    """Name an operation so that generated clients have a method of that name."""
    words = re.findall(r"[A-Za-z0-9]+", path.removeprefix("/api"))
    return method.lower() + "".join(word[:1].upper() + word[1:] for word in words)


def _frames_of(socket: WebSocketOperation, schemas: Schemas) -> dict[str, Any]:
    """Describe what is said on an open WebSocket; OpenAPI has no word for it."""
    return {
        "takes": [schemas.of(model) for model in socket.takes],
        "gives": [schemas.of(model) for model in socket.gives],
        "closes": {str(code): why for code, why in socket.closes.items()},
        "problems": {"enum": list(socket.refusals)},
    }


def _parameters(operation: Operation, schemas: Schemas) -> list[dict[str, Any]]:
    text = {"type": "string"}
    found = [
        _parameter(name, "path", {**text, "minLength": 1}, "As the API gave it.", required=True)
        for name in operation.path_parameters
    ]
    if operation.query is not None:
        for name, (schema, required) in schemas.parameters(operation.query).items():
            plain = {key: value for key, value in schema.items() if key != "description"}
            found.append(_parameter(name, "query", plain, schema.get("description", ""), required=required))
    key = {**text, "minLength": 1, "maxLength": MAX_KEY_CHARACTERS}
    return found + [
        _parameter(name, "header", key if name == "Idempotency-Key" else text, meaning, required=False)
        for name, meaning in operation.headers.items()
    ]


def _parameter(name: str, place: str, schema: Schema, meaning: str, *, required: bool) -> dict[str, Any]:
    parameter = {"name": name, "in": place, "required": required, "schema": schema}
    return {**parameter, "description": meaning} if meaning else parameter


def _content(described: Any, schemas: Schemas) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for media_type, model in contents(described).items():
        if model is None:
            content[media_type] = {"schema": {"type": "string"}}
        else:
            schema = schemas.of(model)
            content[media_type] = {"schema": schema, "examples": examples_of(schema, schemas)}
    return content


def _responses(operation: Operation, schemas: Schemas) -> dict[str, Any]:
    responses: dict[int, dict[str, Any]] = {
        status: _answer(operation, status, schemas) for status in operation.answers
    }
    for status, codes in failures(operation).items():
        problem = _problem(operation, status, codes, schemas)
        if status in responses:  # such as the health of a part that is away
            responses[status]["content"].update(problem["content"])
        else:
            responses[status] = problem
    return {str(status): responses[status] for status in sorted(responses)}


def _answer(operation: Operation, status: int, schemas: Schemas) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if content := _content(operation.answers[status], schemas):
        answer["content"] = content
    if STREAM in content and operation.frames:
        answer["description"] = _STREAM_DESCRIPTION
        frames = {kind: schemas.of(model) for kind, model in operation.frames.items()}
        content[STREAM]["x-frames"] = frames
    if operation.answer_headers and status < HTTPStatus.BAD_REQUEST:
        answer["headers"] = {
            name: _header(meaning, {"type": "string"}, required=False)
            for name, meaning in operation.answer_headers.items()
        }
    return answer


def _problem(operation: Operation, status: int, codes: Sequence[str], schemas: Schemas) -> dict[str, Any]:
    only = {"properties": {"status": {"const": status}, "code": {"enum": list(codes)}}}
    content = {"schema": {"allOf": [schemas.of(operation.problem_form), only]}}
    problem: dict[str, Any] = {"description": HTTPStatus(status).phrase, "content": {PROBLEM: content}}
    if status in RETRY_LATER:
        seconds = {"type": "integer", "minimum": 1}
        problem["headers"] = {"Retry-After": _header("Seconds after which to try again.", seconds)}
    if status == HTTPStatus.UNAUTHORIZED:
        problem["headers"] = {"WWW-Authenticate": _header("RFC 6750.", {"const": "Bearer"})}
    return problem


def _header(meaning: str, schema: Schema, *, required: bool = True) -> dict[str, Any]:
    return {"description": meaning, "required": required, "schema": schema}
