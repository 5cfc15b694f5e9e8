"""Takes finished spans from OpenTelemetry to the span store."""

import logging
import os
import sqlite3
from collections.abc import Sequence
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, format_span_id, format_trace_id

from lightning.telemetry import names
from lightning.telemetry.cleaning import Cleaner, encode
from lightning.telemetry.spans import Row, Span, SpanStore, row_of

_logger = logging.getLogger(__name__)

_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
_STATUSES: Final = {code: code.name.lower() for code in StatusCode}


class SpanStoreExporter(SpanExporter):
    """Writes batches of spans into a :class:`SpanStore`, without secrets.

    It never raises. While the store cannot be written, spans are lost; the
    first loss is logged, and then no other until the store works again.

    Parameters:
      store: Where the spans go.
      cleaner: Takes out what must not get there.
    """

    def __init__(self, store: SpanStore, cleaner: Cleaner) -> None:
        self._store = store
        self._cleaner = cleaner
        self._failing = False
        self._resource: Resource | None = None
        self._process = ""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store the spans in one transaction, or lose them."""
        try:
            self._store.add_rows(self._rows(spans))
        except (sqlite3.Error, OSError) as error:
            if not self._failing:
                _logger.warning("Spans are lost: %s cannot be written (%s).", self._store.path, error)
            self._failing = True
            return SpanExportResult.FAILURE
        self._failing = False
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Close the store."""
        self._store.close()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Do nothing: nothing is held back here."""
        return True

    def _rows(self, spans: Sequence[ReadableSpan]) -> list[Row]:
        """Make rows of spans as they are, if there is nothing to take out of any, which is the rule."""
        try:
            if self._cleaner.finds_nothing(spans):
                return [self._row(span) for span in spans]
        except TypeError:  # integers beyond 64 bits
            pass
        return [row_of(self._convert(span)) for span in spans]

    def _row(self, span: ReadableSpan) -> Row:
        """Make a row of a span that holds no secret.

        Raises:
          TypeError: It holds what cannot be encoded quickly.
        """
        context, start_ns, end_ns = _finished(span)
        attributes, events, links = span.attributes or {}, span.events, span.links
        event_id, status, resource = attributes.get(names.EVENT), span.status, span.resource
        if resource is not self._resource:  # nearly all are of one
            self._resource, self._process = resource, _process(resource)
        return (
            format_trace_id(context.trace_id),
            format_span_id(context.span_id),
            format_span_id(span.parent.span_id) if span.parent else None,
            span.name,
            _KINDS[span.kind],
            start_ns,
            end_ns,
            _STATUSES[status.status_code],
            status.description or "",
            encode(attributes).decode(),
            _events(events) if events else "[]",
            _links(links) if links else "[]",
            self._process,
            None if event_id is None else str(event_id),
        )

    def _convert(self, span: ReadableSpan) -> Span:
        context, start_ns, end_ns = _finished(span)
        return Span(
            trace_id=format_trace_id(context.trace_id),
            span_id=format_span_id(context.span_id),
            parent_id=format_span_id(span.parent.span_id) if span.parent else None,
            name=self._cleaner.text(span.name),
            kind=_KINDS[span.kind],
            start_ns=start_ns,
            end_ns=end_ns,
            status=_STATUSES[span.status.status_code],
            status_message=self._cleaner.text(span.status.description or ""),
            attributes=self._cleaner.attributes(span.attributes),
            events=[
                {
                    "name": self._cleaner.text(event.name),
                    "time_ns": event.timestamp,
                    "attributes": self._cleaner.attributes(event.attributes),
                }
                for event in span.events
            ],
            links=[
                {
                    "trace_id": format_trace_id(link.context.trace_id),
                    "span_id": format_span_id(link.context.span_id),
                    "attributes": self._cleaner.attributes(link.attributes),
                }
                for link in span.links
            ],
            process=_process(span.resource),
        )


def _events(events: Sequence[Event]) -> str:
    shown = [
        {"name": event.name, "time_ns": event.timestamp, "attributes": event.attributes} for event in events
    ]
    return encode(shown).decode()


def _links(links: Sequence[Link]) -> str:
    shown = [
        {
            "trace_id": format_trace_id(link.context.trace_id),
            "span_id": format_span_id(link.context.span_id),
            "attributes": link.attributes,
        }
        for link in links
    ]
    return encode(shown).decode()


def _finished(span: ReadableSpan) -> tuple[SpanContext, int, int]:
    if span.context is None or span.start_time is None or span.end_time is None:
        raise ValueError("only finished spans can be stored")
    return span.context, span.start_time, span.end_time


def _process(resource: Resource) -> str:
    return f"{resource.attributes.get(names.SERVICE_NAME, 'unknown')}:{os.getpid()}"
