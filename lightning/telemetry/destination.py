"""Where telemetry goes besides this machine, and what keeps a destination from doing harm."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opentelemetry.sdk._logs.export import LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from lightning.telemetry.cleaning import Cleaner

#: For one request to a destination. What it has not taken by then, after a few attempts, is lost.
REQUEST_SECONDS: Final = 10.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Destination:
    """A service that takes telemetry.

    Parameters:
      name: What people call it.
      spans: Sends spans.
      logs: Sends log records, which have been redacted.
      metrics: Sends metrics, which hold no text of users.
      takes_exemplars: Whether it shows of metrics in which traces they were measured.
    """

    name: str
    spans: SpanExporter
    logs: LogRecordExporter
    metrics: MetricExporter
    takes_exemplars: bool


class OutwardExporter(SpanExporter):
    """Sends spans without secrets to a destination. It never raises.

    While the destination takes nothing, spans are lost; the first loss is logged, and then no other until it
    works again.

    Parameters:
      destination: Where they go.
      cleaner: Takes out what must not get there.
    """

    def __init__(self, destination: Destination, cleaner: Cleaner) -> None:
        self._destination = destination
        self._cleaner = cleaner
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send the spans, or lose them."""
        try:
            result = self._destination.spans.export(self._cleaner.spans(spans))
        except Exception:  # noqa: BLE001 -- whatever a library raises costs spans and nothing else
            result = SpanExportResult.FAILURE
        failed = result is not SpanExportResult.SUCCESS
        if failed and not self._failing:
            _logger.warning("Telemetry is lost: %s does not take it.", self._destination.name)
        self._failing = failed
        return result

    def shutdown(self) -> None:
        """Let go of the destination."""
        self._destination.spans.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Do nothing: nothing is held back here."""
        return True
