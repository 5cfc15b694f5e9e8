"""What reaches Application Insights, through the real exporter; the process that sends is one of its own."""

import json
import os
import subprocess
import sys
import time

import pytest

from ops.emulators.monitor import MonitorEmulator

CANARY = 'canary-"quoted"-3f9d1c77'

PROGRAM = """
import logging, sys, time
from opentelemetry import trace, metrics
from lightning.settings import Settings
from lightning.telemetry import relay
from lightning.telemetry.setup import configure_from
from lightning.telemetry.spans import Span

settings = Settings.load({
    "LIGHTNING_DATA": sys.argv[1], "APPLICATIONINSIGHTS_CONNECTION_STRING": sys.argv[2],
    "LIGHTNING_LOG": "json", "LIGHTNING_SPANS": "0", "OPENAI_API_KEY": sys.argv[3],
})
telemetry = configure_from(settings, "lightning-test")
tracer = trace.get_tracer("t")
"""

WORK = """
log = logging.getLogger("some.where")
with tracer.start_as_current_span("work", kind=trace.SpanKind.SERVER,
        attributes={"lightning.event": "e", "key": sys.argv[3]}) as span:
    metrics.get_meter("t").create_counter("things").add(3, {"kind": "a"})
    log.warning("event_dead", extra={"x": 1})
    log.info("hello %s", sys.argv[3])
    with tracer.start_as_current_span("step") as step:
        step.record_exception(ValueError(f"refused {sys.argv[3]}"))
    try:
        raise KeyError(sys.argv[3])
    except KeyError:
        log.exception("failed")
    context = span.get_span_context()
    trace_id, parent = f"{context.trace_id:032x}", f"{context.span_id:016x}"
now = time.time_ns()
agent = Span(trace_id, "c" * 16, parent, "invoke_agent echo", "internal", now, now, "error",
    "no " + sys.argv[3], {"lightning.run_id": "r"})
relay.relay([agent], "lightning-run", "r")
begun = time.monotonic()
telemetry.shutdown()
print(time.monotonic() - begun)
"""


@pytest.fixture(scope="module")
def monitor():
    with MonitorEmulator() as running:
        yield running


def run(monitor, tmp_path, program: str) -> tuple[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM + program, str(tmp_path),
         monitor.connection_string, CANARY],
        env=clean, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


def rows(monitor, table: str) -> list[dict]:
    columns, found = monitor.store.query(f"SELECT * FROM {table} ORDER BY timestamp, position")
    return [dict(zip(columns, row, strict=True)) for row in found]


@pytest.fixture
def fresh(monitor):
    yield monitor
    monitor.faults.clear()
    monitor.store.clear()


def test_traces_logs_metrics_and_spans_of_runs_arrive_without_secrets(fresh, tmp_path):
    # When a process does its work
    _, printed = run(fresh, tmp_path, WORK)
    # Then its spans are rows of one operation, each with the process that did it
    [request] = rows(fresh, "requests")
    assert (request["name"], request["cloud_RoleName"], request["operation_ParentId"]) == (
        "work",
        "lightning-test",
        "",
    )
    assert json.loads(request["customDimensions"])["key"] == "[redacted]"
    step, agent = rows(fresh, "dependencies")
    assert (step["name"], step["type"], step["operation_ParentId"]) == ("step", "InProc", request["id"])
    assert (agent["name"], agent["cloud_RoleName"], agent["cloud_RoleInstance"], agent["success"]) == (
        "invoke_agent echo",
        "lightning-run",
        "r",
        "False",
    )
    # And so are its records, its events and its exceptions
    assert [each["message"] for each in rows(fresh, "traces")] == ["hello [redacted]"]
    [dead] = rows(fresh, "customEvents")
    assert dead["name"] == "event_dead"
    thrown = {each["type"]: each["operation_ParentId"] for each in rows(fresh, "exceptions")}
    assert thrown == {"ValueError": step["id"], "KeyError": request["id"]}
    kinds = ("requests", "dependencies", "traces", "customEvents", "exceptions")
    assert {each["operation_Id"] for kind in kinds for each in rows(fresh, kind)} == {request["operation_Id"]}
    [things] = [each for each in rows(fresh, "customMetrics") if each["name"] == "things"]
    assert (things["value"], json.loads(things["customDimensions"])) == (3, {"kind": "a"})
    # And nothing that was sent or printed holds the secret, nor is anything else written down
    assert CANARY not in json.dumps(fresh.store.envelopes()) + printed
    assert "canary" not in json.dumps(fresh.store.envelopes())
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_taken_for_a_moment_is_sent_again(fresh, tmp_path):
    fresh.faults.add("throttle", count=1)
    fresh.faults.add("unavailable", count=1)
    run(fresh, tmp_path, WORK)
    assert len(rows(fresh, "requests")) == 1


@pytest.mark.parametrize("fault", [{"kind": "latency", "seconds": 600}, {"kind": "internal"}])
def test_a_destination_that_stalls_or_fails_holds_no_process_back(fresh, tmp_path, fault):
    # Given a destination that never answers, or always with an error
    fresh.faults.add(**fault)
    begun = time.monotonic()
    out, printed = run(fresh, tmp_path, WORK)
    # Then the process ends all the same, and says at most once what is lost
    assert float(out) < 8
    assert time.monotonic() - begun < 60
    assert printed.count("Telemetry is lost") <= 1
    assert "azure" not in printed


FLOOD = """
import os
def memory():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
def spans(count):
    begun = time.monotonic()
    for number in range(count):
        attributes = {"lightning.event": f"event-{number}", "x": "y" * 200}
        with tracer.start_as_current_span("work", attributes=attributes):
            pass
        if number % 10 == 0:
            log.warning("a line %s", number)
    return time.monotonic() - begun
log = logging.getLogger("some.where")
spans(15_000)
full = memory()
seconds = spans(30_000)
print(memory() - full, seconds)
telemetry.shutdown()
"""


def test_a_destination_that_stalls_costs_neither_memory_nor_time(fresh, tmp_path):
    # Given a destination that never answers
    fresh.faults.add("latency", seconds=600)
    # When a process makes far more spans and records than may wait
    out, _ = run(fresh, tmp_path, FLOOD)
    # Then they are dropped: nothing grows, and nobody waits
    grown, seconds = out.split()
    assert int(grown) < 8 * 1024 * 1024
    assert float(seconds) < 60
