"""Reads OTLP in protobuf, the form in which most exporters send, as the JSON that means the same.

https://opentelemetry.io/docs/specs/otlp/#binary-protobuf-encoding
"""

import base64
from typing import Any

import orjson

from lightning.errors import InvalidRequest
from lightning.strict_json import Json, loads
from lightning.telemetry.otlp import MAX_SPANS, too_many_spans

#: JSON of what came may be so many times as long: each empty value, of two bytes, has names around it.
_LONGER = 64


def as_json(body: bytes) -> Json:
    """Read an `ExportTraceServiceRequest`, as strictly as one in JSON is read.

    Parameters:
      body: The message, without compression.

    Raises:
      InvalidRequest: It is none (``not_protobuf``), has more spans than may come at a time
        (``too_many_spans``), or what `lightning.strict_json.loads` refuses.
    """
    # what few processes need takes a tenth of a second
    from google.protobuf.json_format import MessageToDict  # noqa: PLC0415
    from google.protobuf.message import DecodeError  # noqa: PLC0415
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415
        ExportTraceServiceRequest,
    )

    try:
        message = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise InvalidRequest(
            "the body is no ExportTraceServiceRequest of OTLP in protobuf", code="not_protobuf"
        ) from None
    scopes = [scope for resource in message.resource_spans for scope in resource.scope_spans]
    if sum(len(scope.spans) for scope in scopes) > MAX_SPANS:
        raise too_many_spans()
    sent = MessageToDict(message, use_integers_for_enums=True)
    for resource in sent.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                _name_by_digits(span)
    return loads(orjson.dumps(sent), max_bytes=len(body) * _LONGER)


def answer(rejected: int, message: str) -> bytes:
    """Give an `ExportTraceServiceResponse`.

    Parameters:
      rejected: How many spans were not kept.
      message: Why.
    """
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (  # noqa: PLC0415 -- see `as_json`
        ExportTraceServiceResponse,
    )

    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
        response.partial_success.error_message = message
    return response.SerializeToString()


def _name_by_digits(span: dict[str, Any]) -> None:
    """Write ids as OTLP does in JSON: as hexadecimal digits, unlike all other bytes."""
    for name in ("traceId", "spanId", "parentSpanId"):
        if name in span:
            span[name] = base64.b64decode(span[name]).hex()
