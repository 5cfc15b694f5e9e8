"""The trace context as it travels: W3C Trace Context, and no baggage.

Baggage is left out on purpose: it would carry whatever a caller put into it
through queues, containers and other people's endpoints.
"""

import re
from collections.abc import Mapping
from typing import Final, cast

from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()

# What nearly every `traceparent` is; the propagator takes five times as long, and reads all others.
_USUAL: Final = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-(0[0-3])", re.ASCII)
_FLAGS: Final = {f"{flags:02x}": TraceFlags(flags) for flags in range(4)}


def current() -> dict[str, str]:
    """Write the active span down, so that it can travel.

    Returns:
      ``traceparent`` and, if there is one, ``tracestate`` (W3C Trace Context
      level 2); empty when no span is active.
    """
    return of(get_current_span().get_span_context())


def of(span: SpanContext) -> dict[str, str]:
    """Write one span's context down, active or not.

    Parameters:
      span: The context to write.

    Returns:
      The same fields as :func:`current`; empty for the invalid context.
    """
    if not span.is_valid:
        return {}
    traceparent, state = (
        f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}",
        span.trace_state,
    )
    if state:
        return {"traceparent": traceparent, "tracestate": state.to_header()}
    return {"traceparent": traceparent}


def parent(carrier: object) -> Context:
    """Read a travelled context, to be the parent of a span.

    Parameters:
      carrier: What :func:`current` wrote, after it came back from a queue or a
        request. Anything else counts as absent: a bad trace must not cost the message.

    Returns:
      A context that holds the remote span, or an empty one, with which a new trace begins.
    """
    if type(carrier) is dict:
        carried = cast("dict[object, object]", carrier)
        traceparent = carried.get("traceparent")
        if isinstance(traceparent, str) and "tracestate" not in carried:
            usual = _usual(traceparent)
            if usual is not None:
                return set_span_in_context(NonRecordingSpan(usual), Context())
    if not isinstance(carrier, Mapping):
        return Context()
    fields = {
        name: value
        for name, value in cast("Mapping[object, object]", carrier).items()
        if isinstance(name, str) and isinstance(value, str)
    }
    return _W3C.extract(fields)


def _usual(traceparent: str) -> SpanContext | None:
    """Read a context in the usual form; None leaves it to the propagator."""
    match = _USUAL.fullmatch(traceparent)
    if match is None:
        return None
    trace_id, span_id, flags = match.groups()
    context = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=_FLAGS[flags])
    return context if context.is_valid else None
