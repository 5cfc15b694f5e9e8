"""Switches tracing, logging and metrics on, once in the life of a process."""

import os
import platform
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from opentelemetry import trace
from opentelemetry.metrics import MeterProvider, NoOpMeterProvider, set_meter_provider
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter
from opentelemetry.sdk.metrics import MeterProvider as MeasuringProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON

from lightning.settings import Settings
from lightning.telemetry import names
from lightning.telemetry.batching import MAX_WAITING_SPANS, SHUTDOWN_SECONDS, Batches, measure
from lightning.telemetry.cleaning import Cleaner
from lightning.telemetry.destination import Destination, OutwardExporter
from lightning.telemetry.exporter import SpanStoreExporter
from lightning.telemetry.forwarding import Forwarding
from lightning.telemetry.logs import LogFormat, configure_logging
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.relay import RelayingProvider
from lightning.telemetry.spans import DEFAULT_MAX_DAYS, DEFAULT_MAX_SPANS, SpanStore

if TYPE_CHECKING:
    from lightning.telemetry.scrape import Scrape

#: Where a process answers whoever asks for its metrics.
METRICS_PATH: Final = "/metrics"

#: How long a span may wait in memory; what a person who looks at a trace waits for.
EXPORT_DELAY_SECONDS: Final = 0.5

#: The same on the way to a destination, where a request costs more than its content.
OUTWARD_DELAY_SECONDS: Final = 2.0

#: Log records that wait in memory at most; the rest are dropped.
MAX_QUEUED_RECORDS: Final = 4_096


class Telemetry:
    """What :func:`configure` switched on, to be flushed and shut down by whoever called it.

    Parameters:
      provider: The process's tracer provider.
      ends: What else ends with it.
      scrape: What answers whoever asks for the metrics; None where nobody may.
    """

    def __init__(
        self,
        provider: TracerProvider,
        ends: Sequence[Callable[[], None]] = (),
        scrape: "Scrape | None" = None,
    ) -> None:
        self.provider = provider
        self.scrape = scrape
        self._ends = ends

    def force_flush(self) -> bool:
        """Write out the spans that have ended so far.

        Returns:
          False when telemetry was shut down before.
        """
        return self.provider.force_flush()

    def shutdown(self) -> None:
        """Write out what has ended and stop recording, within 5 seconds; the process may then end."""
        ends = [self.provider.shutdown, *self._ends]
        threads = [threading.Thread(target=end, name="telemetry-end", daemon=True) for end in ends]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def configure_from(settings: Settings, service_name: str) -> Telemetry:
    """Configure telemetry for this process as its settings say; call it once, from its main module.

    Parameters:
      settings: The settings.
      service_name: How the process appears in a trace, such as ``lightning-worker``.

    Raises:
      RuntimeError: It was configured before.
    """
    return configure(
        service_name=service_name,
        span_path=settings.data / "spans.db" if settings.spans else None,
        max_spans=settings.spans,
        max_days=settings.span_days,
        max_waiting=settings.span_queue,
        log_format=settings.log,
        log_level=settings.log_level,
        secrets=settings.secret_values(),
        destinations=_destinations(settings),
        scrape=_scrape(settings),
    )


def _scrape(settings: Settings) -> "Scrape | None":
    if settings.metrics_token is None:
        return None
    from lightning.telemetry.scrape import Scrape  # noqa: PLC0415 -- an SDK

    return Scrape(settings.metrics_token.get_secret_value())


def _destinations(settings: Settings) -> list[Destination]:
    found = list[Destination]()
    if settings.monitor_connection is not None:
        from lightning.telemetry.azure_monitor import open_application_insights  # noqa: PLC0415 -- an SDK

        found.append(open_application_insights(settings))
    if settings.otlp_endpoint is not None:
        from lightning.telemetry.otlp_collector import open_otlp_collector  # noqa: PLC0415 -- an SDK

        found.append(open_otlp_collector(settings.otlp_endpoint, settings.otlp_header_values()))
    return found


def configure(
    *,
    service_name: str,
    span_path: Path | None,
    log_format: LogFormat,
    log_level: str,
    max_spans: int = DEFAULT_MAX_SPANS,
    max_days: int = DEFAULT_MAX_DAYS,
    max_waiting: int = MAX_WAITING_SPANS,
    secrets: Iterable[str] = (),
    destinations: Sequence[Destination] = (),
    scrape: "Scrape | None" = None,
) -> Telemetry:
    """Configure tracing and logging for this process; see :func:`configure_from`.

    Every span is recorded unless ``OTEL_TRACES_SAMPLER`` names another sampler.
    A caller's sampled flag alone switches nothing off, so ``parentbased_always_on``,
    which is OpenTelemetry's own default, is taken for ``always_on``.

    Parameters:
      service_name: How the process appears in a trace, such as ``api`` or ``worker``.
      span_path: The file of the span store; None keeps no spans.
      log_format: ``json`` or ``console``.
      log_level: A level of the standard library, such as ``info``.
      max_spans: What the span store keeps.
      max_days: How long it keeps it.
      max_waiting: Spans that wait in memory at most, for each place where they go; the rest are lost.
      secrets: Values that must appear in no log and no span.
      destinations: Where telemetry goes besides.
      scrape: What answers whoever asks for the metrics.

    Returns:
      The handle to flush and to shut down.

    Raises:
      RuntimeError: Tracing was configured before.
      ValueError: There is no such level.
    """
    configured = isinstance(trace.get_tracer_provider(), TracerProvider)
    if configured:
        raise RuntimeError("telemetry is configured already; configure it once, in the main module")
    redactor = Redactor(secrets)
    instance = f"{platform.node()}:{os.getpid()}"
    resource = Resource.create({names.SERVICE_NAME: service_name, names.SERVICE_INSTANCE_ID: instance})
    logs = _logs(resource, destinations) if destinations else None
    configure_logging(
        log_format=log_format,
        log_level=log_level,
        redactor=redactor,
        forward=None if logs is None else Forwarding(logs),
    )
    meters = _meters(resource, destinations, scrape)
    set_meter_provider(meters)  # first: what is made below has metrics
    provider = RelayingProvider(resource=resource)
    if provider.sampler is DEFAULT_ON:
        provider.sampler = ALWAYS_ON
    cleaner, places = Cleaner(redactor), list[Batches]()
    if span_path is not None:
        store = SpanStoreExporter(SpanStore(span_path, max_spans=max_spans, max_days=max_days), cleaner)
        places.append(
            Batches(store, name=span_path.name, delay_seconds=EXPORT_DELAY_SECONDS, max_spans=max_waiting)
        )
        provider.add_span_processor(places[-1])
    for each in destinations:
        outward = OutwardExporter(each, cleaner)
        places.append(
            Batches(outward, name=each.name, delay_seconds=OUTWARD_DELAY_SECONDS, max_spans=max_waiting)
        )
        provider.add_destination(places[-1])
    measure(places)
    trace.set_tracer_provider(provider)
    ends = [each.shutdown for each in (meters, logs) if isinstance(each, MeasuringProvider | LoggerProvider)]
    return Telemetry(provider, ends, scrape)


def _logs(resource: Resource, destinations: Sequence[Destination]) -> LoggerProvider:
    provider = LoggerProvider(resource, shutdown_on_exit=False)
    for destination in destinations:
        provider.add_log_record_processor(
            BatchLogRecordProcessor(
                destination.logs,
                max_queue_size=MAX_QUEUED_RECORDS,
                schedule_delay_millis=OUTWARD_DELAY_SECONDS * 1000,
            )
        )
    return provider


def _meters(
    resource: Resource, destinations: Sequence[Destination], scrape: "Scrape | None"
) -> MeterProvider:
    # how often they are sent is said by OTEL_METRIC_EXPORT_INTERVAL
    readers: list[MetricReader] = [PeriodicExportingMetricReader(each.metrics) for each in destinations]
    readers += [] if scrape is None else [scrape.reader]
    if not readers:
        return NoOpMeterProvider()  # nobody would ever read what it adds up
    kept = any(each.takes_exemplars for each in destinations)
    exemplars = None if kept else AlwaysOffExemplarFilter()
    return MeasuringProvider(readers, resource, exemplar_filter=exemplars, shutdown_on_exit=False)
