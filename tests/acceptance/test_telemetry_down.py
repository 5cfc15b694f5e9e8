"""A platform whose telemetry goes nowhere, and one whose telemetry goes to a collector of OpenTelemetry."""

import json
from collections.abc import Callable

import pytest

from lightning.telemetry import names
from ops.bench.gauge import memory_mb
from ops.chaos.installation import Installation, until
from ops.emulators.monitor import MonitorEmulator
from tests.collector import attributes, collecting

pytestmark = pytest.mark.timeout(200)

#: Of each way to go wrong; three spans each, and so more than may wait.
EVENTS = 60

MOST_WAITING = 50

#: A process loses what would be more than this within the test.
MOST_GROWTH_MB = 16.0

WAYS: dict[str, Callable[[MonitorEmulator], object]] = {
    "it takes requests and never answers": lambda monitor: monitor.faults.add("latency", seconds=600),
    "nothing listens": lambda monitor: monitor.stop(),
    "it fails": lambda monitor: (monitor.start(), monitor.faults.clear(), monitor.faults.add("internal")),
    "it answers byte by byte": lambda monitor: (
        monitor.faults.clear(),
        monitor.faults.add("trickle", seconds=5),
    ),
}


@pytest.fixture
def monitor():
    monitor = MonitorEmulator()
    monitor.start()
    yield monitor
    monitor.stop()


@pytest.fixture
def collector():
    with collecting() as collector:
        yield collector


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


def told(monitor: MonitorEmulator, name: str) -> dict[tuple[str, str], list[float]]:
    """Read a metric: by process and destination, the values in the order in which they came."""
    rows = monitor.store.query(
        "SELECT cloud_RoleName, customDimensions, value FROM customMetrics WHERE name = ? ORDER BY position",
        [name],
    )[1]
    values: dict[tuple[str, str], list[float]] = {}
    for role, dimensions, value in rows:
        where = json.loads(dimensions)[names.TELEMETRY_DESTINATION]
        values.setdefault((role, where), []).append(value)
    return values


def test_no_event_waits_for_telemetry_or_is_lost_with_it(tmp_path, monitor, collector, monkeypatch):
    data = tmp_path / "data"
    # Given a platform with a span store that is no file, a collector that stalls, and a destination that goes
    # wrong in every way
    collector.seconds = 600
    (data / "spans.db").mkdir(parents=True)
    monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "500")
    environment = {
        "APPLICATIONINSIGHTS_CONNECTION_STRING": monitor.connection_string,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_MAX_QUEUE_SIZE": str(MOST_WAITING),
    }
    with Installation(data, environment, clock=False) as running, running.user("ada") as client:
        memory: list[float] = []
        for break_it in WAYS.values():
            break_it(monitor)
            # When it has a load to bear meanwhile
            sent = [client.send("user.message", {"content": f"message {n}"}) for n in range(EVENTS)]
            # Then each event is done, at its first attempt
            over = [client.wait(event, timeout_seconds=60) for event in sent]
            assert {(event["state"], event["attempts"]) for event in over} == {("done", 1)}
            memory.append(sum(memory_mb(running.pid(name))[0] for name in ("web", "worker.0")))
        assert memory[-1] - memory[0] < MOST_GROWTH_MB
        # And once the destination takes telemetry again, it is told what was lost of each
        monitor.stop()
        monitor.faults.clear()
        monitor.start()
        places = {
            (role, where)
            for role in ("lightning-web", "lightning-worker")
            for where in ("spans.db", "Azure Monitor")
        }
        until(lambda: least_lost(monitor, places) > 0, "losses are told of each", seconds=60)
        lost = told(monitor, names.TELEMETRY_LOST)["lightning-web", "Azure Monitor"]
        assert lost[-1] >= 2 * EVENTS - MOST_WAITING
        # And no more waited than may
        waited = [each for values in told(monitor, names.TELEMETRY_WAITING).values() for each in values]
        assert max(waited) <= MOST_WAITING
        # And once what waited is gone, what happens arrives there, and nothing at the collector
        until(lambda: none_waits(monitor, "Azure Monitor"), "there is room for what happens", seconds=60)
        event = client.wait(client.send("user.message", {"content": "again"}), timeout_seconds=60)["id"]
        until(lambda: arrived(monitor, event) >= 2, "the request and its processing arrive", seconds=60)
        assert (collector.taken, collector.requests > 0) == ([], True)


def least_lost(monitor: MonitorEmulator, places: set[tuple[str, str]]) -> float:
    lost = told(monitor, names.TELEMETRY_LOST)
    return min(lost.get(place, [0.0])[-1] for place in places)


def none_waits(monitor: MonitorEmulator, where: str) -> bool:
    waiting = told(monitor, names.TELEMETRY_WAITING)
    return all(waiting.get((role, where), [1])[-1] == 0 for role in ("lightning-web", "lightning-worker"))


def arrived(monitor: MonitorEmulator, event: str) -> int:
    query = "SELECT count(*) FROM requests WHERE customDimensions LIKE ?"
    return monitor.store.query(query, [f"%{event}%"])[1][0][0]
