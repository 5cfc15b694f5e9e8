"""Envelopes from templates: those that Azure Monitor's exporter makes, to the last value."""

import json

import orjson
import pytest
from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from lightning.settings import tell_libraries
from lightning.telemetry import azure_envelopes
from lightning.telemetry.azure_envelopes import Encoding, TemplateExporter
from lightning.telemetry.azure_monitor import SWITCHES
from ops.emulators.monitor import MonitorEmulator
from tests.receiver import receiving

CONNECTION = (
    "InstrumentationKey=00000000-0000-0000-0000-000000000001;"
    "IngestionEndpoint=http://127.0.0.1:9/;LiveEndpoint=http://127.0.0.1:9/"
)

#: Attributes of each kind of span that is made here or comes from agents; `*` differs each time.
SHAPES = {
    "send": (SpanKind.PRODUCER, {"messaging.system": "sqlite", "messaging.destination.name": "q",
        "messaging.message.id": "*", "lightning.message_id": "*", "lightning.event": "*",
        "lightning.attempt": 1}),
    "process": (SpanKind.CONSUMER, {"messaging.system": "servicebus", "az.namespace": "Microsoft.ServiceBus",
        "server.address": "bus.example", "messaging.destination.name": "q", "lightning.event": "*"}),
    "POST /api/events": (SpanKind.SERVER, {"http.request.method": "POST", "url.path": "/api/events",
        "url.scheme": "http", "server.address": "127.0.0.1", "server.port": 8000, "lightning.user": "*",
        "http.response.status_code": 202, "http.route": "/api/events"}),
    "GET /api/events/{id}": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "/api/events/*",
        "url.scheme": "https", "server.address": "a.example", "http.response.status_code": 404,
        "http.route": "/api/events/{id}"}),
    "a query": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "/*", "url.query": "a=*",
        "url.scheme": "https", "server.address": "a.example", "http.route": "/{a}"}),
    "no route": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "/*", "url.scheme": "http",
        "server.address": "127.0.0.1", "server.port": 1}),
    "no path": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "", "http.route": "/"}),
    "no host": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "/*", "http.route": "/{a}"}),
    "a long path": (SpanKind.SERVER, {"http.request.method": "GET", "url.path": "/*" + "x" * 3000,
        "url.scheme": "http", "server.address": "127.0.0.1", "http.route": "/{a}"}),
    "chat m": (SpanKind.CLIENT, {"gen_ai.system": "openai", "gen_ai.request.model": "m",
        "gen_ai.usage.input_tokens": 7, "gen_ai.conversation.id": "*", "lightning.event": "*",
        "gen_ai.response.finish_reasons": ["stop"]}),
    "POST": (SpanKind.CLIENT, {"http.request.method": "POST", "server.address": "hook.example",
        "url.full": "https://hook.example/*", "lightning.webhook": "*"}),
    "run": (SpanKind.CLIENT, {"peer.service": "aci", "lightning.run_id": "*",
        "lightning.run.ran_seconds": 1.5}),
    "invoke_agent a": (SpanKind.INTERNAL, {"gen_ai.agent.name": "a", "lightning.run_id": "*", "x": {"y": 1}}),
    "query": (SpanKind.CLIENT, {"db.system.name": "postgresql", "db.query.text": "SELECT *",
        "server.address": "d"}),
    "measured": (SpanKind.INTERNAL, {"microsoft.custom_measurements": '{"a": 1}', "enduser.id": "*",
        "lightning.event": "x" * 9000, "lightning." + "n" * 160: "*", "session.id": "*"}),
    "quoted": (SpanKind.INTERNAL, {"lightning.user": 'a "%s" \\ é\n*', "lightning.agent": "\udc80*",
        "other": '100 % of "\udc80"'}),
}  # fmt: skip


@pytest.fixture(scope="module")
def exporters():
    tell_libraries(SWITCHES)
    options = {"connection_string": CONNECTION, "disable_offline_storage": True}
    return AzureMonitorTraceExporter(**options), TemplateExporter(**options)


def spans_of(name: str, count: int) -> list:
    """Make spans of one kind, of different traces, some of which failed, or have a parent and a link."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "web"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    kind, attributes = SHAPES[name]
    for number in range(count):
        cause = tracer.start_span("cause").get_span_context()
        own = {
            key: value.replace("*", f"{number:08}") if isinstance(value, str) else value
            for key, value in attributes.items()
        }
        span = tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(cause)) if number % 2 else None,
            kind=kind,
            attributes=own,
            links=[Link(cause, {"enqueuedTime": 1000 * number} if number % 4 else {})] * (number % 3),
            start_time=10**18 + number * (1 if number % 7 else 123_456_789),
        )
        if number % 5 == 0:
            span.set_status(Status(StatusCode.ERROR, "no"))
        span.end(10**18 + 10**9 * number * 3007 + 499_999)
    return list(memory.get_finished_spans())


def plain(envelope) -> dict:
    if isinstance(envelope, orjson.Fragment):
        return json.loads(orjson.dumps(envelope))
    return json.loads(json.dumps(envelope.as_dict(exclude_readonly=True)))


@pytest.mark.parametrize("name", SHAPES)
def test_an_envelope_is_the_one_that_the_exporter_makes(exporters, name):
    exporter, templates = exporters
    for span in spans_of(name, 121):
        assert plain(templates._span_to_envelope(span)) == plain(exporter._span_to_envelope(span))


class Sent:
    """Stands for the client of the SDK: what is sent is read here."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def track(self, body: bytes) -> None:
        self.bodies.append(body)


def test_what_is_sent_is_json_of_all_envelopes_whoever_made_them(exporters):
    exporter, templates = exporters
    sent, spans = Sent(), [*spans_of("quoted", 3), *spans_of("chat m", 3)]
    Encoding(sent).track([templates._span_to_envelope(span) for span in spans])
    assert json.loads(sent.bodies[0]) == [plain(exporter._span_to_envelope(span)) for span in spans]


@pytest.mark.parametrize("status", [307, 308])
def test_spans_arrive_where_the_service_redirects_them_to(status):
    # Given an endpoint that sends whoever asks it to another
    tell_libraries(SWITCHES)
    with MonitorEmulator() as other, receiving() as first:
        named = dict(part.split("=", 1) for part in other.connection_string.split(";") if part)
        track = f"{named['IngestionEndpoint'].rstrip('/')}/v2.1/track"
        first.will_answer("/ok/v2.1/track", (status, {"location": track}))
        named["IngestionEndpoint"] = f"{first.url}/ok"
        connection = ";".join(f"{key}={value}" for key, value in named.items())
        exporter = TemplateExporter(connection_string=connection, disable_offline_storage=True)
        # When spans are exported
        results = [exporter.export(spans_of("send", 2)), exporter.export(spans_of("send", 1))]
        exporter.shutdown()
        [[arrived]] = other.store.query("SELECT count(*) FROM dependencies")[1]
    # Then all have arrived at the other, which is asked first from then on
    assert arrived == 3
    assert results == [SpanExportResult.SUCCESS] * 2
    assert len(first.posts) == 1


@pytest.mark.parametrize("name", ["send", "process", "POST /api/events", "GET /api/events/{id}", "run"])
def test_what_a_platform_does_all_the_time_is_made_from_templates(exporters, name):
    # Given spans of which one of each shape was seen
    templates = exporters[1]
    spans = [span for number, span in enumerate(spans_of(name, 121)) if number % 3 == 1 and number % 4]
    for span in spans:
        templates._span_to_envelope(span)
    # Then no other needs the exporter's work
    assert all(isinstance(templates._span_to_envelope(span), orjson.Fragment) for span in spans)


def test_shapes_are_forgotten_when_there_are_too_many(exporters, monkeypatch):
    monkeypatch.setattr(azure_envelopes, "MAX_SHAPES", 10)
    templates = TemplateExporter(connection_string=CONNECTION, disable_offline_storage=True)
    for span in spans_of("no route", 40):
        templates._span_to_envelope(span)
    assert len(templates._templates) == 10
