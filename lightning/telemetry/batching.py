"""Takes finished spans off the threads that made them, in batches, within bounds."""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from lightning.telemetry import names

#: Spans that wait in memory at most, for each place where they go. Two seconds of a busy process.
MAX_WAITING_SPANS: Final = 8_192

#: Spans that are exported at a time: a megabyte for Application Insights, whose requests take 1.5 ms to make.
MAX_BATCH_SPANS: Final = 1_024

#: At the end, what still waits is exported for so long.
SHUTDOWN_SECONDS: Final = 5.0

_logger = logging.getLogger(__name__)


class Batches(SpanProcessor):
    """Hands spans to an exporter every now and then, from a thread of its own.

    What ends a span appends to a list and goes on, whatever the exporter does: when the list is full the span
    is lost, which is counted (:func:`measure`), and neither logged nor waited for.

    Parameters:
      exporter: Where they go.
      name: What people call it.
      delay_seconds: How long a span waits at most, while the exporter keeps up.
      max_spans: How many may wait.
    """

    def __init__(
        self,
        exporter: SpanExporter,
        *,
        name: str,
        delay_seconds: float,
        max_spans: int = MAX_WAITING_SPANS,
    ) -> None:
        self._exporter = exporter
        self.name = name
        self._delay_seconds = delay_seconds
        self._max_spans = max_spans
        self._waiting: deque[ReadableSpan] = deque()
        self.lost = 0
        self._counting = threading.Lock()
        self._exporting = threading.Lock()
        self._wake = threading.Event()
        self._is_shut = False
        self._thread = threading.Thread(target=self._run, name=f"spans to {name}", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Spans that wait."""
        return len(self._waiting)

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing."""

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span until the next batch, or lose it."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        count = len(self._waiting)
        if count >= self._max_spans or self._is_shut:
            self._lose(1)
            return
        self._waiting.append(span)
        if count == self._max_spans // 2:
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what waits, on this thread.

        Returns:
          False when it was shut down before, or another batch took all the time.
        """
        return not self._is_shut and self._export_all(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Export what waits, for 5 seconds at most, and take no more."""
        if self._is_shut:
            return
        self._is_shut = True
        self._wake.set()
        self._thread.join(SHUTDOWN_SECONDS)
        if not self._thread.is_alive():  # else the exporter is in use
            self._exporter.shutdown()

    def _run(self) -> None:
        while not self._is_shut:
            self._wake.wait(self._delay_seconds)
            self._wake.clear()
            self._export_all()
        self._export_all()

    def _export_all(self, timeout_seconds: float = -1) -> bool:
        """Export what waits now; what comes meanwhile is for the next time."""
        if not self._exporting.acquire(timeout=timeout_seconds):
            return False
        try:
            left = len(self._waiting)
            while left > 0:
                batch = [self._waiting.popleft() for _ in range(min(left, MAX_BATCH_SPANS))]
                left -= len(batch)
                self._export(batch)
        finally:
            self._exporting.release()
        return True

    def _export(self, batch: list[ReadableSpan]) -> None:
        try:
            result = self._exporter.export(batch)
        except Exception:  # the next batch may fare better
            _logger.exception("Spans are lost.")
            result = SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._lose(len(batch))

    def _lose(self, count: int) -> None:
        with self._counting:
            self.lost += count


def measure(places: Sequence[Batches], meters: MeterProvider | None = None) -> None:
    """Make the metrics of all places where spans go; once, for a name has one metric.

    Parameters:
      places: Of this process.
      meters: Whose metrics to make; OpenTelemetry's global provider when left out.
    """

    def lost(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(each.lost, {names.TELEMETRY_DESTINATION: each.name}) for each in places]

    def waiting(_options: CallbackOptions) -> Iterable[Observation]:
        return [Observation(each.waiting, {names.TELEMETRY_DESTINATION: each.name}) for each in places]

    meter = get_meter(__name__, meter_provider=meters)
    # a level, not a counter: what is told while a destination takes nothing would be lost with it
    meter.create_observable_gauge(
        names.TELEMETRY_LOST, [lost], unit="{span}", description="Spans lost since the process began"
    )
    meter.create_observable_gauge(
        names.TELEMETRY_WAITING, [waiting], unit="{span}", description="Spans that wait to be exported"
    )
