"""`/otlp`: spans of code in a container, which join the trace of its run (OpenTelemetry, OTLP over HTTP)."""

from typing import Final

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.requests import JSON, UnsupportedMediaType, media_type, platform, read_body, respond
from api.run_api.access import run_access
from api.run_api.chat_forms import read
from api.run_spans import BYTES_PER_RUN, SPANS_PER_RUN
from lightning.strict_json import loads
from lightning.telemetry.otlp import SpansSent

MAX_BYTES: Final = 1024 * 1024


class PartialSuccess(BaseModel):
    """How many spans were not kept, and why."""

    rejectedSpans: int  # noqa: N815 -- the wire's name
    errorMessage: str  # noqa: N815 -- the wire's name


class SpansTaken(BaseModel):
    """`ExportTraceServiceResponse` of OTLP."""

    partialSuccess: PartialSuccess | None = None  # noqa: N815 -- the wire's name


async def take(request: Request) -> Response:
    """Take spans, in JSON; they hang below the run's own, or below each other.

    A span of another trace, with the id of the run's own span, or with times that cannot be is refused, and
    all that came with it. Attributes that begin with ``lightning.`` are the platform's, and left out; long
    texts are cut. What is more than a run may send is rejected within an answer of 200 (``partialSuccess``).
    """
    access = await run_access(request)
    if media_type(request) != JSON:
        raise UnsupportedMediaType("send OTLP as application/json (OTEL_EXPORTER_OTLP_PROTOCOL=http/json)")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("send the body as it is, without Content-Encoding")
    body = await read_body(request, max_bytes=MAX_BYTES)
    sent = read(SpansSent, loads(body, max_bytes=MAX_BYTES))
    rejected = await platform(request).run_spans.keep(access, sent, len(body))
    if not rejected:
        return respond({})
    message = (
        f"a run may send {SPANS_PER_RUN} spans, and {BYTES_PER_RUN // 1024**2} MiB; further ones are not kept"
    )
    return respond({"partialSuccess": {"rejectedSpans": rejected, "errorMessage": message}})


ROUTES = (
    Operation(
        "POST",
        "/otlp/v1/traces",
        take,
        summary="Take spans of a run into its trace.",
        scope=None,
        for_runs=True,
        tag="spans",
        body=SpansSent,
        raw_body=True,
        answers={200: SpansTaken},
        problems={
            400: (
                *("not_json", "not_utf8", "too_deep", "duplicate_key", "number_out_of_range"),
                *("unstorable_text", "invalid_request", "invalid_parameter", "too_many_spans"),
                *("foreign_trace", "foreign_span", "invalid_time"),
            ),
            415: ("unsupported_media_type",),
        },
    ),
)
