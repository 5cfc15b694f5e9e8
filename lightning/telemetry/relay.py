"""Hands on to the destinations what spans came from elsewhere, as from a container that has no way there."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, cast

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, Tracer, TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.util.types import Attributes

from lightning.telemetry import names
from lightning.telemetry.lean import LeanTracer
from lightning.telemetry.spans import Span

_KINDS: Final = {kind.name.lower(): kind for kind in SpanKind}
_STATUSES: Final = {code.name.lower(): code for code in StatusCode}


class RelayingProvider(TracerProvider):
    """A tracer provider of lean spans, that also takes spans which are finished already."""

    _outward: tuple[SpanProcessor, ...] = ()

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Give a tracer of lean spans."""
        tracer = super().get_tracer(
            instrumenting_module_name, instrumenting_library_version, schema_url, attributes
        )
        return LeanTracer(tracer) if isinstance(tracer, Tracer) else tracer

    def add_destination(self, processor: SpanProcessor) -> None:
        """Have spans taken to a destination, those from elsewhere too."""
        self.add_span_processor(processor)
        self._outward = (*self._outward, processor)

    def relay(self, spans: Sequence[Span], service_name: str, instance: str) -> None:
        """Take finished spans to the destinations; never waits, and never raises.

        Parameters:
          spans: What came.
          service_name: What they are spans of, in the place of this process.
          instance: Which of these.
        """
        for span in spans if self._outward else ():
            finished = _finished(span, _resource(service_name, instance))
            for processor in self._outward:
                processor.on_end(finished)


def relay(spans: Sequence[Span], service_name: str, instance: str) -> None:
    """Take finished spans to the destinations of this process, if it has any.

    Parameters:
      spans: What came.
      service_name: What they are spans of, in the place of this process.
      instance: Which of these.
    """
    provider = trace.get_tracer_provider()
    if isinstance(provider, RelayingProvider):
        provider.relay(spans, service_name, instance)


@lru_cache(maxsize=256)
def _resource(service_name: str, instance: str) -> Resource:
    return Resource({names.SERVICE_NAME: service_name, names.SERVICE_INSTANCE_ID: instance})


def _finished(span: Span, resource: Resource) -> ReadableSpan:
    status = _STATUSES[span.status]
    described = span.status_message if status is StatusCode.ERROR and span.status_message else None
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id),
        parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id),
        resource=resource,
        attributes=_attributes(span.attributes),
        events=[
            Event(str(each["name"]), _attributes(each["attributes"]), cast("int", each["time_ns"]))
            for each in span.events
        ],
        links=[
            Link(_context(str(each["trace_id"]), str(each["span_id"])), _attributes(each["attributes"]))
            for each in span.links
        ],
        kind=_KINDS[span.kind],
        status=Status(status, described),
        start_time=span.start_ns,
        end_time=span.end_ns,
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    sampled = TraceFlags(TraceFlags.SAMPLED)
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=sampled)


def _attributes(attributes: object) -> Attributes:
    return cast("Mapping[str, Any]", attributes)
