"""`/otlp`: spans of code in a container, which join the trace of its run (OpenTelemetry, OTLP over HTTP)."""

import asyncio
from typing import Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.compressed import expand
from api.operation import Operation
from api.requests import JSON, UnsupportedMediaType, media_type, platform, read_body, respond
from api.run_api.access import run_access
from api.run_api.chat_forms import read
from api.run_spans import BYTES_PER_RUN, SPANS_PER_RUN
from lightning.strict_json import loads
from lightning.telemetry import otlp_protobuf
from lightning.telemetry.otlp import SpansSent

#: Of the body, as it comes and without compression.
MAX_BYTES: Final = 1024 * 1024

PROTOBUF: Final = "application/x-protobuf"

_UNKEPT: Final = {"cache-control": "no-store"}


class PartialSuccess(BaseModel):
    """How many spans were not kept, and why."""

    rejectedSpans: int  # noqa: N815 -- the wire's name
    errorMessage: str  # noqa: N815 -- the wire's name


class SpansTaken(BaseModel):
    """`ExportTraceServiceResponse` of OTLP."""

    partialSuccess: PartialSuccess | None = None  # noqa: N815 -- the wire's name


async def take(request: Request) -> Response:
    """Take spans, in protobuf or JSON; they hang below the run's own, or below each other.

    A span of another trace, with the id of the run's own span, or with times that cannot be is refused, and
    all that came with it. Attributes that begin with ``lightning.`` are the platform's, and left out; long
    texts are cut. What is more than a run may send is rejected within an answer of 200 (``partialSuccess``).
    The body may be compressed by gzip; it is at most 1 MiB long without. Problems are in JSON, as all are.
    """
    access = await run_access(request)
    kind, encoding = media_type(request), request.headers.get("content-encoding", "identity").lower()
    if kind not in {JSON, PROTOBUF}:
        raise UnsupportedMediaType(f"send OTLP as {PROTOBUF} or {JSON} (OTEL_EXPORTER_OTLP_PROTOCOL)")
    if encoding not in {"identity", "gzip"}:
        raise UnsupportedMediaType("send the body compressed by gzip, or as it is")
    body = await read_body(request, max_bytes=MAX_BYTES)
    if encoding == "gzip":
        body = await asyncio.to_thread(expand, body, MAX_BYTES)
    if kind == PROTOBUF:
        raw = await asyncio.to_thread(otlp_protobuf.as_json, body)
    else:
        raw = loads(body, max_bytes=MAX_BYTES)
    rejected = await platform(request).run_spans.keep(access, read(SpansSent, raw), len(body))
    return _answer(kind, rejected)


def _answer(kind: str, rejected: int) -> Response:
    """Say how many spans were not kept, in the form in which they came."""
    mebibytes = BYTES_PER_RUN // 1024**2
    message = f"a run may send {SPANS_PER_RUN} spans, and {mebibytes} MiB; further ones are not kept"
    if kind == PROTOBUF:
        return Response(otlp_protobuf.answer(rejected, message), headers=_UNKEPT, media_type=PROTOBUF)
    return respond(
        {"partialSuccess": {"rejectedSpans": rejected, "errorMessage": message}} if rejected else {}
    )


ROUTES = (
    Operation(
        "POST",
        "/otlp/v1/traces",
        take,
        summary="Take spans of a run into its trace.",
        scope=None,
        for_runs=True,
        tag="spans",
        body={JSON: SpansSent, PROTOBUF: None},
        raw_body=True,
        answers={200: {JSON: SpansTaken, PROTOBUF: None}},
        problems={
            400: (
                *("not_json", "not_utf8", "too_deep", "duplicate_key", "number_out_of_range"),
                *("unstorable_text", "invalid_request", "invalid_parameter", "too_many_spans"),
                *("foreign_trace", "foreign_span", "invalid_time", "not_protobuf", "not_gzip"),
            ),
            415: ("unsupported_media_type",),
        },
    ),
)
