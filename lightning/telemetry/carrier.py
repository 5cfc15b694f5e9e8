"""The trace context as it travels: W3C Trace Context, and no baggage.

Baggage is left out on purpose: it would carry whatever a caller put into it
through queues, containers and other people's endpoints.
"""

from collections.abc import Mapping
from typing import cast

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, format_span_id, format_trace_id, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_W3C = TraceContextTextMapPropagator()


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
    traceparent = f"00-{format_trace_id(span.trace_id)}-{format_span_id(span.span_id)}-{span.trace_flags:02x}"
    if span.trace_state:
        return {"traceparent": traceparent, "tracestate": span.trace_state.to_header()}
    return {"traceparent": traceparent}


def parent(carrier: object) -> Context:
    """Read a travelled context, to be the parent of a span.

    Parameters:
      carrier: What :func:`current` wrote, after it came back from a queue or a
        request. Anything else counts as absent: a bad trace must not cost the message.

    Returns:
      A context that holds the remote span, or an empty one, with which a new trace begins.
    """
    if not isinstance(carrier, Mapping):
        return Context()
    fields = {
        name: value
        for name, value in cast("Mapping[object, object]", carrier).items()
        if isinstance(name, str) and isinstance(value, str)
    }
    return _W3C.extract(fields)
