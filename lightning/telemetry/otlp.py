"""Reads spans that somebody else sends as OTLP in JSON, within bounds.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids are hexadecimal, integers of 64 bits
are text or numbers, enumerations are numbers, and fields that are not known are passed over.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, ConfigDict, Field

from lightning.errors import InvalidRequest
from lightning.telemetry import names
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import Span

#: Spans of one request: what SDKs send at a time (OTEL_BSP_MAX_EXPORT_BATCH_SIZE).
MAX_SPANS: Final = 512

#: Attributes and events of one span, and characters of one text; what is more is left out.
MAX_ATTRIBUTES: Final = 64
MAX_EVENTS: Final = 32
MAX_CHARS: Final = 4096

#: A span begins no longer ago, and ends no later than a clock may be ahead.
MAX_AGE_SECONDS: Final = 7 * 24 * 3600
MAX_AHEAD_SECONDS: Final = 300

_KINDS: Final = ("internal", "internal", "server", "client", "producer", "consumer")
_STATUSES: Final = ("unset", "ok", "error")

#: Names that only the platform gives.
_OWN: Final = "lightning."

_SCALARS: Final = ("stringValue", "boolValue", "intValue", "doubleValue", "bytesValue")

_INT64: Final = re.compile(r"-?[0-9]{1,19}", re.ASCII)

_TraceID = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{32}$", examples=["4bf92f3577b34da6a3ce929d0e0e4736"])]
_SpanID = Annotated[str, Field(pattern=r"^[0-9a-fA-F]{16}$", examples=["a2fb4a1d1a96d312"])]
_ParentID = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{16})?$", examples=["00f067aa0ba902b7"])]
_Nanoseconds = Annotated[
    Annotated[str, Field(pattern=r"^[0-9]{1,19}$")] | Annotated[int, Field(ge=0, lt=2**63)],
    Field(description="Nanoseconds since 1970.", examples=["1769860800000000000"]),
]


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class Attribute(_Message):
    """A name, and a value of one of the kinds of `opentelemetry.proto.common.v1.AnyValue`."""

    key: Annotated[str, Field(examples=["gen_ai.agent.name"])]
    value: Annotated[dict[str, Any], Field(examples=[{"stringValue": "echo"}])] = {}


class SentEvent(_Message):
    """Something that happened during a span."""

    name: Annotated[str, Field(examples=["retry"])] = ""
    timeUnixNano: _Nanoseconds = 0  # noqa: N815 -- the wire's name
    attributes: list[Attribute] = []


class SentStatus(_Message):
    """How a span ended: 0 unset, 1 well, 2 in an error."""

    code: Annotated[int, Field(ge=0, le=2)] = 0
    message: str = ""


class SentSpan(_Message):
    """A span; without a parent it hangs below that of the run."""

    traceId: _TraceID  # noqa: N815 -- the wire's name
    spanId: _SpanID  # noqa: N815 -- the wire's name
    parentSpanId: _ParentID = ""  # noqa: N815 -- the wire's name
    name: Annotated[str, Field(min_length=1, examples=["invoke_agent echo"])]
    kind: Annotated[int, Field(ge=0, le=5, examples=[1])] = 0
    startTimeUnixNano: _Nanoseconds  # noqa: N815 -- the wire's name
    endTimeUnixNano: _Nanoseconds  # noqa: N815 -- the wire's name
    attributes: list[Attribute] = []
    events: list[SentEvent] = []
    status: SentStatus = SentStatus()


class SentResource(_Message):
    """What made the spans; its `service.name` is shown beside them."""

    attributes: list[Attribute] = []


class ScopeSpans(_Message):
    """Spans of one library."""

    spans: list[SentSpan] = []


class ResourceSpans(_Message):
    """Spans of one resource."""

    resource: SentResource = SentResource()
    scopeSpans: list[ScopeSpans] = []  # noqa: N815 -- the wire's name


class SpansSent(_Message):
    """`ExportTraceServiceRequest` of OTLP."""

    resourceSpans: list[ResourceSpans] = []  # noqa: N815 -- the wire's name


@dataclass(frozen=True, slots=True)
class Origin:
    """Who may send, and where its spans hang.

    Parameters:
      trace_id: The one trace that they may belong to.
      parent_id: The span that those without a parent hang below, which is nobody's to send.
      attributes: What is added to each.
      process: What stands before the name of their service.
    """

    trace_id: str
    parent_id: str
    attributes: dict[str, object]
    process: str


def spans_of(sent: SpansSent, origin: Origin, redactor: Redactor) -> list[Span]:
    """Give what was sent as spans of the store; they cannot say that they are the platform's own.

    Raises:
      InvalidRequest: ``too_many_spans``, ``foreign_trace``, ``foreign_span`` or ``invalid_time``.
    """
    found = list(_each(sent))
    if len(found) > MAX_SPANS:
        raise too_many_spans()
    for span, _ in found:
        _check(span, origin)
    return [_read(span, service, origin, redactor) for span, service in found]


def too_many_spans() -> InvalidRequest:
    """Say that a request has more spans than may come at a time."""
    return InvalidRequest(f"send at most {MAX_SPANS} spans at a time", code="too_many_spans")


def _each(sent: SpansSent) -> Iterator[tuple[SentSpan, str]]:
    for resource in sent.resourceSpans:
        named = [
            _value(each.value) for each in resource.resource.attributes if each.key == names.SERVICE_NAME
        ]
        service = str(named[0]) if named else "unknown"
        for scope in resource.scopeSpans:
            yield from ((span, service) for span in scope.spans)


def _check(span: SentSpan, origin: Origin) -> None:
    if span.traceId.lower() != origin.trace_id:
        message = f"a span is not of the run's own trace, {origin.trace_id}: begin with its TRACEPARENT"
        raise InvalidRequest(message, code="foreign_trace")
    if span.spanId.lower() in {origin.parent_id, "0" * 16}:
        raise InvalidRequest(
            "a span has the id of the run's own, which is the platform's, or only zeros", code="foreign_span"
        )
    now = time.time()
    begins, ends = int(span.startTimeUnixNano) / 1e9, int(span.endTimeUnixNano) / 1e9
    within = (int(event.timeUnixNano) / 1e9 for event in span.events if int(event.timeUnixNano))
    lowest, highest = now - MAX_AGE_SECONDS, now + MAX_AHEAD_SECONDS
    if not (lowest <= begins <= ends <= highest and all(lowest <= each <= highest for each in within)):
        message = "a span's times are not those of this week in nanoseconds, or it ends before it begins"
        raise InvalidRequest(message, code="invalid_time")


def _read(span: SentSpan, service: str, origin: Origin, redactor: Redactor) -> Span:
    def text(value: str) -> str:
        # cut last: half a secret would not be recognised
        return redactor.text(value)[:MAX_CHARS]

    def attributes(given: list[Attribute]) -> dict[str, object]:
        kept = [each for each in given if not each.key.startswith(_OWN)][:MAX_ATTRIBUTES]
        return {text(each.key): _cut(redactor.value(_value(each.value))) for each in kept}

    begins = int(span.startTimeUnixNano)
    return Span(
        trace_id=origin.trace_id,
        span_id=span.spanId.lower(),
        parent_id=span.parentSpanId.lower() or origin.parent_id,
        name=text(span.name),
        kind=_KINDS[span.kind],
        start_ns=begins,
        end_ns=int(span.endTimeUnixNano),
        status=_STATUSES[span.status.code],
        status_message=text(span.status.message),
        attributes={**attributes(span.attributes), **origin.attributes},
        events=[
            {
                "name": text(event.name),
                "time_ns": int(event.timeUnixNano) or begins,
                "attributes": attributes(event.attributes),
            }
            for event in span.events[:MAX_EVENTS]
        ],
        process=f"{origin.process}:{text(service)[:64]}",
    )


def _value(value: object) -> object:
    """Give what an `AnyValue` holds; None when it holds none that can be read."""
    given = _fields(value)
    digits = given.get("intValue")
    if isinstance(digits, str):
        return int(digits) if _INT64.fullmatch(digits) else None
    if "arrayValue" in given:
        return [_value(each) for each in _members(given["arrayValue"])]
    if "kvlistValue" in given:
        pairs = (_fields(each) for each in _members(given["kvlistValue"]))
        return {str(pair.get("key", "")): _value(pair.get("value")) for pair in pairs}
    found = (given[kind] for kind in _SCALARS if isinstance(given.get(kind), str | int | float))
    return next(found, None)


def _members(value: object) -> list[object]:
    found = _fields(value).get("values")
    return cast("list[object]", found) if isinstance(found, list) else []


def _fields(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _cut(value: object) -> object:
    """Bound a value: a list or map that is too long becomes text."""
    if isinstance(value, str):
        return value[:MAX_CHARS]
    written = str(value)
    return value if len(written) <= MAX_CHARS else written[:MAX_CHARS]
