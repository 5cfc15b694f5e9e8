"""Switches tracing and logging on, once in the life of a process."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, DEFAULT_ON

from lightning.telemetry import names
from lightning.telemetry.exporter import SpanStoreExporter
from lightning.telemetry.logs import LogFormat, configure_logging
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import SpanStore

#: How long a span may wait in memory; what a person who looks at a trace waits for.
EXPORT_DELAY_SECONDS: Final = 0.5

#: Spans that wait in memory at most; the rest are dropped. Two seconds of a busy process.
MAX_QUEUED_SPANS: Final = 8_192


class Telemetry:
    """What :func:`configure` switched on, to be flushed and shut down by whoever called it.

    Parameters:
      provider: The process's tracer provider.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider

    def force_flush(self) -> bool:
        """Write out the spans that have ended so far.

        Returns:
          False when telemetry was shut down before.
        """
        return self.provider.force_flush()

    def shutdown(self) -> None:
        """Write out what has ended and stop recording; the process may then end."""
        self.provider.shutdown()


def configure(
    *,
    service_name: str,
    span_path: Path | None,
    log_format: LogFormat,
    log_level: str,
    secrets: Iterable[str] = (),
) -> Telemetry:
    """Configure tracing and logging for this process; call it once, from its main module.

    Every span is recorded unless ``OTEL_TRACES_SAMPLER`` names another sampler.
    A caller's sampled flag alone switches nothing off, so ``parentbased_always_on``,
    which is OpenTelemetry's own default, is taken for ``always_on``.

    Parameters:
      service_name: How the process appears in a trace, such as ``api`` or ``worker``.
      span_path: The file of the span store; None keeps no spans.
      log_format: ``json`` or ``console``.
      log_level: A level of the standard library, such as ``info``.
      secrets: Values that must appear in no log and no span.

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
    configure_logging(log_format=log_format, log_level=log_level, redactor=redactor)
    provider = TracerProvider(resource=Resource.create({names.SERVICE_NAME: service_name}))
    if provider.sampler is DEFAULT_ON:
        provider.sampler = ALWAYS_ON
    if span_path is not None:
        provider.add_span_processor(
            BatchSpanProcessor(
                SpanStoreExporter(SpanStore(span_path), redactor),
                max_queue_size=MAX_QUEUED_SPANS,
                schedule_delay_millis=EXPORT_DELAY_SECONDS * 1000,
            )
        )
    trace.set_tracer_provider(provider)
    return Telemetry(provider)
