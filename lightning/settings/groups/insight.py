"""Settings for people who look inside."""

from typing import Annotated, Literal

from pydantic import Field

from lightning.settings.groups.group import Group, setting
from lightning.settings.secrets import MetricsToken, MonitorConnection, OtlpHeaders
from lightning.settings.values import PublicUrl


class Insight(Group):
    """What people who look inside need."""

    log: Literal["console", "json"] = setting(
        "LIGHTNING_LOG", "console", "Form of the log lines: `console` or `json`"
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting(
        "LIGHTNING_LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`"
    )
    monitor_connection: MonitorConnection | None = setting(
        "APPLICATIONINSIGHTS_CONNECTION_STRING",
        None,
        "Application Insights, to which traces, logs and metrics are sent besides: connection string",
        example="InstrumentationKey=00000000-0000-0000-0000-000000000000;IngestionEndpoint=https://...",
    )
    monitor_identity: Literal["0", "1"] = setting(
        "LIGHTNING_MONITOR_IDENTITY", "0", "`1`: the managed identity signs in to Application Insights"
    )
    otlp_endpoint: PublicUrl | None = setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        None,
        "A collector of OpenTelemetry, to which traces, logs and metrics are sent besides by OTLP over HTTP",
        example="http://127.0.0.1:4318",
    )
    otlp_headers: OtlpHeaders | None = setting(
        "OTEL_EXPORTER_OTLP_HEADERS",
        None,
        "Headers that it asks for, percent-encoded",
        example="authorization=Bearer%20...,x-tenant=1",
    )
    otlp_protocol: Literal["http/protobuf"] = setting(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "Only `http/protobuf`: there is no gRPC"
    )
    metrics_token: MetricsToken | None = setting(
        "LIGHTNING_METRICS_TOKEN",
        None,
        "Token for `GET /metrics` of each process, in Prometheus' format, which without it is not there",
        example="$(openssl rand -hex 32)",
    )
    spans: Annotated[int, Field(ge=0, le=10_000_000)] = setting(
        "LIGHTNING_SPANS",
        200_000,
        "Spans that `spans.db` in the data directory keeps, for `lightning trace`; `0`: none",
    )
    span_days: Annotated[int, Field(ge=1, le=10_000)] = setting(
        "LIGHTNING_SPAN_DAYS", 30, "Days after which they are removed, if there are not more before"
    )
    span_queue: Annotated[int, Field(ge=1, le=1_000_000)] = setting(
        "OTEL_BSP_MAX_QUEUE_SIZE",
        8_192,
        "Spans that wait in a process to be written or sent; further ones are lost, and counted",
    )
    testing: Literal["0", "1"] = setting("LIGHTNING_TESTING", "0", "`1` allows what only tests may do")
    crash_at: str | None = setting(
        "LIGHTNING_CRASH_AT",
        None,
        "Point at which the process kills itself; only for tests",
        example="after_commit",
    )
