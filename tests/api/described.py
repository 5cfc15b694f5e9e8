"""Every answer of every test of the API is held against the description that the ingress gives of itself."""

import copy
import gzip
import json
import re
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs

from api.app import ROUTES, WEBSOCKETS
from api.openapi import JSON, PROBLEM, STREAM, document

DOCUMENT = document([*ROUTES, *WEBSOCKETS])


def _closed(schema: Any) -> Any:
    """Allow only the fields that are described: readers must bear more, but we answer with no more."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _closed(value) for name, value in schema.items()}
    return (
        {"additionalProperties": False, **inner}
        if schema.get("type") == "object" and "properties" in schema
        else inner
    )


_CLOSED = {**DOCUMENT["components"], "schemas": _closed(DOCUMENT["components"]["schemas"])}
_PATTERNS = [(re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), path) for path in DOCUMENT["paths"]]


def check(response: httpx2.Response) -> None:
    """Fail unless an answer is one of those that its operation describes."""
    method = response.request.method.lower()
    if method == "head":
        return
    path = described_path(response.request.url.raw_path.decode().partition("?")[0])
    operations = DOCUMENT["paths"].get(path, {})
    if method not in operations:
        # what HTTP itself says of a path or method that is not there
        code = json.loads(_text(response))["code"]
        expected = (405, "method_not_allowed") if operations else (404, "not_found")
        assert (response.status_code, code) == expected, f"{method} {path}: {response.text}"
        return
    where = f"{method.upper()} {path} answers {response.status_code}"
    described = operations[method]["responses"].get(str(response.status_code))
    assert described is not None, f"{where}, which is not described: {_text(response)}"
    _check_headers(response, described, where)
    _check_content(response, described.get("content", {}), (path, method), where)
    _check_request(response, operations[method], (path, method), where)


def check_frame(response: httpx2.Response, data: Any) -> None:
    """Fail unless what a frame of a stream carries is one of the things that the stream describes."""
    path = described_path(response.request.url.path)
    at = ("paths", path, "get", "responses", "200", "content", STREAM, "x-frames")
    kinds = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"][STREAM]["x-frames"]
    assert any(_validator((*at, kind)).is_valid(data) for kind in kinds), f"{path} does not describe {data}"


def described_path(path: str) -> str | None:
    """Find the path of the description that an address belongs to; one without parameters first."""
    if path in DOCUMENT["paths"]:
        return path
    return next((known for pattern, known in _PATTERNS if pattern.fullmatch(path)), None)


def _check_headers(response: httpx2.Response, described: dict[str, Any], where: str) -> None:
    for name, header in described.get("headers", {}).items():
        assert name in response.headers or not header["required"], f"{where} without {name}"


def _check_content(
    response: httpx2.Response, content: dict[str, Any], at: tuple[str, str], where: str
) -> None:
    media_type = response.headers.get("content-type", "").partition(";")[0]
    if not content:
        assert (media_type, _text(response)) == ("", ""), f"{where} with a body, which is not described"
        return
    assert media_type in content, f"{where} as {media_type!r}, not as {sorted(content)}"
    if media_type not in {JSON, PROBLEM}:
        return
    body = json.loads(_text(response))
    if media_type == PROBLEM:
        codes = content[PROBLEM]["schema"]["allOf"][1]["properties"]["code"]["enum"]
        assert body["code"] in codes, f"{where} `{body['code']}`, described are {codes}"
    schema = ("paths", *at, "responses", str(response.status_code), "content", media_type, "schema")
    errors = [f"{error.instance_path}: {error.message}" for error in _validator(schema).iter_errors(body)]
    assert not errors, f"{where} with what is not described: {errors} in {body}"


def _check_request(
    response: httpx2.Response, operation: dict[str, Any], at: tuple[str, str], where: str
) -> None:
    """What is accepted is described too; a binary CloudEvent has its envelope in headers."""
    # 207: some of it was refused
    if response.status_code not in {200, 201, 202, 204} or "requestBody" not in operation:
        return
    request = response.request
    media_type = request.headers.get("content-type", JSON).partition(";")[0]
    if "ce-specversion" in request.headers or media_type not in operation["requestBody"]["content"]:
        return
    if not media_type.endswith("json"):  # bytes, of which nothing is described
        return
    schema = ("paths", *at, "requestBody", "content", media_type, "schema")
    is_gzip = request.headers.get("content-encoding") == "gzip"
    sent = json.loads(gzip.decompress(request.content) if is_gzip else request.content)
    errors = [error.message for error in _validator(schema, closed=False).iter_errors(sent)]
    assert not errors, f"{where} to a body that is not described: {errors}"


def _text(response: httpx2.Response) -> str:
    if response.headers.get("content-type", "").startswith(STREAM):
        return ""
    response.read()
    return response.text


@cache
def _validator(at: tuple[str, ...], *, closed: bool = True) -> jsonschema_rs.Draft202012Validator:
    schema: Any = DOCUMENT
    for step in at:
        schema = schema[step]
    components = _CLOSED if closed else DOCUMENT["components"]
    return jsonschema_rs.Draft202012Validator({**copy.deepcopy(schema), "components": components})
