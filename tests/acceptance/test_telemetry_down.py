"""A platform whose telemetry goes nowhere, and one whose telemetry goes to a collector of OpenTelemetry."""

import pytest

from ops.chaos.installation import Installation, until
from ops.emulators.monitor import MonitorEmulator
from tests.collector import attributes, collecting

pytestmark = pytest.mark.timeout(200)

EVENTS = 300


@pytest.fixture
def stalled():
    with MonitorEmulator() as monitor:
        monitor.faults.add("latency", seconds=600)
        yield monitor


@pytest.fixture
def collector():
    with collecting() as collector:
        yield collector


def test_no_event_waits_for_telemetry_or_is_lost_with_it(tmp_path, stalled, collector):
    data = tmp_path / "data"
    # Given a platform with two destinations that stall, and a span store that is no file
    (data / "spans.db").mkdir(parents=True)
    collector.seconds = 600
    environment = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": stalled.connection_string,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
    }
    with Installation(data, environment) as running, running.user("ada") as client:
        # When it has a load to bear
        sent = [client.send("user.message", {"content": f"message {n}"}) for n in range(EVENTS)]
        # Then each event is done, at its first attempt
        until(lambda: client.event(sent[-1]["id"])["state"] == "done", "the last is done", seconds=90)
        over = [client.wait(event, timeout_seconds=60) for event in sent]
        assert {(event["state"], event["attempts"]) for event in over} == {("done", 1)}
    # And nothing was taken
    assert stalled.store.envelopes() == []
    assert (collector.taken, collector.requests > 0) == ([], True)


def test_a_collector_gets_one_trace_of_the_whole_platform(tmp_path, collector, monkeypatch):
    # Given a platform with a collector that is away for a moment
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "1000")  # which OpenTelemetry reads
    with Installation(tmp_path / "data", environment) as running, running.user("ada") as client:
        collector.status = 503
        # When somebody is answered
        event = client.send("llm.chat", {"content": "canary-prompt-6b1f"})
        client.wait(event, timeout_seconds=60)
        until(lambda: collector.requests > 0, "something was refused", seconds=60)
        collector.status = 200
        # Then one trace holds the request, the queue, the model and the answer, each from its process
        until(lambda: edges(collector, event["id"]) >= WHOLE, "the trace is told", seconds=60)
        # And so are the worker's metrics, and no word that was said
        until(lambda: names_of(collector) >= MEASURED, "it is measured")
    assert "canary-prompt" not in repr(collector.taken)


MEASURED = {
    ("lightning-worker", "lightning.queue.lag"),
    ("lightning-worker", "lightning.step.duration"),
}

WHOLE = {
    ("", "lightning-web", "POST /api/events"),
    ("POST /api/events", "lightning-web", "send lightning"),
    ("send lightning", "lightning-worker", "process lightning"),
    ("process lightning", "lightning-worker", "chat echo"),
    ("process lightning", "lightning-worker", "send lightning-messenger"),
    ("send lightning-messenger", "lightning-worker", "process lightning-messenger"),
}


def names_of(collector):
    return {(service, metric["name"]) for service, metric in collector.of("/v1/metrics")}


def edges(collector, event_id):
    """List what follows from what in the trace of an event: the span above, the service, and the span."""
    spans = {span["spanId"]: (service, span) for service, span in collector.of("/v1/traces")}
    [trace] = {
        span["traceId"] for _, span in spans.values() if attributes(span).get("lightning.event") == event_id
    } or {""}
    return {
        (
            spans[above][1]["name"] if (above := span.get("parentSpanId", "")) in spans else "",
            service,
            span["name"],
        )
        for service, span in spans.values()
        if span["traceId"] == trace
    }
