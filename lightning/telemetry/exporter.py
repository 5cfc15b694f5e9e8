"""Takes finished spans from OpenTelemetry to the span store."""

import logging
import os
import sqlite3
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, StatusCode, format_span_id, format_trace_id

from lightning.telemetry import names
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import Span, SpanStore

_logger = logging.getLogger(__name__)

#: Longer attributes are cut: a trace says what happened, the log holds the content.
MAX_TEXT_LENGTH: Final = 16_384

#: Texts up to this length are redacted once and remembered.
MAX_CACHED_LENGTH: Final = 64

_KINDS: Final = {kind: kind.name.lower() for kind in SpanKind}
_STATUSES: Final = {code: code.name.lower() for code in StatusCode}


class SpanStoreExporter(SpanExporter):
    """Writes batches of spans into a :class:`SpanStore`, without secrets.

    It never raises. While the store cannot be written, spans are lost; the
    first loss is logged, and then no other until the store works again.

    Parameters:
      store: Where the spans go.
      redactor: What must not get there.
    """

    def __init__(self, store: SpanStore, redactor: Redactor) -> None:
        self._store = store
        self._redactor = redactor
        self._short = lru_cache(maxsize=2048)(redactor.text)  # names and words come again and again
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Store the spans in one transaction, or lose them."""
        try:
            self._store.add(self._convert(span) for span in spans)
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

    def _convert(self, span: ReadableSpan) -> Span:
        context = span.context
        if context is None or span.start_time is None or span.end_time is None:
            raise ValueError("only finished spans can be stored")
        return Span(
            trace_id=format_trace_id(context.trace_id),
            span_id=format_span_id(context.span_id),
            parent_id=format_span_id(span.parent.span_id) if span.parent else None,
            name=self._text(span.name),
            kind=_KINDS[span.kind],
            start_ns=span.start_time,
            end_ns=span.end_time,
            status=_STATUSES[span.status.status_code],
            status_message=self._text(span.status.description or ""),
            attributes=self._attributes(span.attributes),
            events=[
                {
                    "name": self._text(event.name),
                    "time_ns": event.timestamp,
                    "attributes": self._attributes(event.attributes),
                }
                for event in span.events
            ],
            links=[
                {
                    "trace_id": format_trace_id(link.context.trace_id),
                    "span_id": format_span_id(link.context.span_id),
                    "attributes": self._attributes(link.attributes),
                }
                for link in span.links
            ],
            process=f"{span.resource.attributes.get(names.SERVICE_NAME, 'unknown')}:{os.getpid()}",
        )

    def _text(self, text: str) -> str:
        if len(text) <= MAX_CACHED_LENGTH:
            return self._short(text)
        # Cut last: half a secret would not be recognised.
        return self._redactor.text(text)[:MAX_TEXT_LENGTH]

    def _attributes(self, attributes: Mapping[str, object] | None) -> dict[str, object]:
        return {
            self._short(name): self._text(value) if isinstance(value, str) else self._redactor.value(value)
            for name, value in (attributes or {}).items()
        }
