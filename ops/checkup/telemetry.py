"""Whether Application Insights takes a span."""

from collections.abc import AsyncIterator
from typing import Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lightning.daemon_thread import in_daemon_thread
from lightning.settings import Settings
from lightning.telemetry.azure_monitor import open_application_insights
from ops.checkup.check import Check
from ops.checkup.commands import give_role

SERVICE: Final = "lightning-doctor"


async def look(settings: Settings) -> AsyncIterator[Check]:
    """Send a span to the resource that the settings name."""
    if settings.monitor_connection is None:
        detail = "APPLICATIONINSIGHTS_CONNECTION_STRING is not set"
        yield Check("telemetry", "skipped", detail, "the portal shows it, on the page of the resource")
        return
    span, trace_id = _span()
    result = await in_daemon_thread(lambda: _sent(settings, span))
    if result is SpanExportResult.SUCCESS:
        find = f"requests | union dependencies | where operation_Id == '{trace_id}'"
        yield Check("telemetry", "ok", f"a span was taken; in Logs, within 5 minutes: {find}")
        return
    yield Check("telemetry", "failed", "the span was not taken", remedy(settings))


def remedy(settings: Settings) -> str:
    """Say what to do where nothing is taken."""
    words = "check APPLICATIONINSIGHTS_CONNECTION_STRING, and the way to its IngestionEndpoint"
    if settings.monitor_identity == "0":
        return f"{words}; where local authentication is off, set LIGHTNING_MONITOR_IDENTITY=1"
    scope = '"$(az resource list --resource-type Microsoft.Insights/components --query [0].id --output tsv)"'
    return f"{give_role(settings, 'Monitoring Metrics Publisher', scope)}; or {words}"


def _span() -> tuple[ReadableSpan, str]:
    kept = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource.create({"service.name": SERVICE}))
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer(SERVICE).start_as_current_span("lightning doctor") as span:
        trace_id = span.get_span_context().trace_id
    provider.shutdown()
    [finished] = kept.get_finished_spans()
    return finished, f"{trace_id:032x}"


def _sent(settings: Settings, span: ReadableSpan) -> SpanExportResult:
    destination = open_application_insights(settings)
    try:
        return destination.spans.export([span])
    finally:
        for each in (destination.spans, destination.logs, destination.metrics):
            each.shutdown()  # pyright: ignore[reportUnknownMemberType] -- it has no types
