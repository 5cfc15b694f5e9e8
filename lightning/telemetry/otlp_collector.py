"""A collector of OpenTelemetry as a destination, by OpenTelemetry's own exporter of OTLP over HTTP."""

import logging
from collections.abc import Mapping
from typing import Any

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from lightning.telemetry.destination import REQUEST_SECONDS, Destination


def open_otlp_collector(endpoint: str, headers: Mapping[str, str]) -> Destination:
    """Open the collector at an endpoint.

    What it does not take within `REQUEST_SECONDS`, attempts that it asks for included, is lost.

    Parameters:
      endpoint: Its address, to which ``/v1/traces``, ``/v1/logs`` and ``/v1/metrics`` are added.
      headers: What is sent with each request.
    """
    # it would tell of each failure; that telemetry is lost is said once, by `OutwardExporter`
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    base = endpoint.rstrip("/")
    options: dict[str, Any] = {"headers": dict(headers), "timeout": REQUEST_SECONDS}
    return Destination(
        "the collector of OpenTelemetry",
        OTLPSpanExporter(endpoint=f"{base}/v1/traces", **options),
        OTLPLogExporter(endpoint=f"{base}/v1/logs", **options),
        OTLPMetricExporter(endpoint=f"{base}/v1/metrics", **options),
        takes_exemplars=True,
    )
