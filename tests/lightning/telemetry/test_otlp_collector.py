"""What reaches a collector of OpenTelemetry, by the real exporter; who sends is a process of its own."""

import json
import os
import subprocess
import sys
import time

import pytest

from ops.ports import free_port
from tests.collector import attributes, collecting
from tests.lightning.telemetry.test_azure_monitor import FLOOD, WORK

CANARY = 'canary-"quoted"-8d2e61f0'

PROGRAM = """
import logging, sys, time
from opentelemetry import trace, metrics
from lightning.settings import Settings
from lightning.telemetry import relay
from lightning.telemetry.setup import configure_from
from lightning.telemetry.spans import Span

settings = Settings.load({
    "LIGHTNING_DATA": sys.argv[1], "OTEL_EXPORTER_OTLP_ENDPOINT": sys.argv[2] + "/",
    "OTEL_EXPORTER_OTLP_HEADERS": "Authorization=Bearer%20canary-token-0c1d,x-tenant=seven",
    "LIGHTNING_LOG": "json", "LIGHTNING_SPANS": "0", "OPENAI_API_KEY": sys.argv[3],
})
telemetry = configure_from(settings, "lightning-test")
tracer = trace.get_tracer("t")
logging.getLogger("some.where").error("the headers are Bearer canary-token-0c1d")
"""


def run(url, tmp_path, program: str) -> tuple[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", PROGRAM + program, str(tmp_path), url, CANARY],
        env=clean, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout, result.stderr


@pytest.fixture
def collector():
    with collecting() as collector:
        yield collector


def test_traces_logs_metrics_and_spans_of_runs_arrive_without_secrets(collector, tmp_path):
    # When a process does its work
    _, printed = run(collector.url, tmp_path, WORK)
    # Then its spans are there, each with the process that did it
    spans = {span["name"]: (service, span) for service, span in collector.of("/v1/traces")}
    assert {name: service for name, (service, _) in spans.items()} == {
        "work": "lightning-test",
        "step": "lightning-test",
        "invoke_agent echo": "lightning-run",
    }
    [work, step, agent] = [spans[name][1] for name in ("work", "step", "invoke_agent echo")]
    assert work["kind"] == "SPAN_KIND_SERVER"
    assert {span["traceId"] for span in (work, step, agent)} == {work["traceId"]}
    assert {step["parentSpanId"], agent["parentSpanId"]} == {work["spanId"]}
    assert attributes(work)["key"] == "[redacted]"
    # And so are its records and its metrics
    said = [record["body"]["stringValue"] for _, record in collector.of("/v1/logs")]
    assert "hello [redacted]" in said
    assert {record.get("traceId") for _, record in collector.of("/v1/logs")} == {work["traceId"], None}
    [things] = [metric for _, metric in collector.of("/v1/metrics") if metric["name"] == "things"]
    [point] = things["sum"]["dataPoints"]
    assert (point["asInt"], attributes(point)) == ("3", {"kind": "a"})
    assert [each["traceId"] for each in point["exemplars"]] == [work["traceId"]]
    # And each request has the headers that were asked for; nothing that was sent or printed holds a secret
    assert {each["authorization"] for each in collector.headers} == {"Bearer canary-token-0c1d"}
    assert {each["x-tenant"] for each in collector.headers} == {"seven"}
    assert "canary" not in json.dumps(collector.taken) + printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("status", "seconds"), [(200, 600), (503, 0), (None, 0)])
def test_a_collector_that_stalls_refuses_or_is_down_holds_no_process_back(
    collector, tmp_path, status, seconds
):
    # Given a collector that takes nothing, or is not there
    collector.status, collector.seconds = status, seconds
    url = collector.url if status else f"http://127.0.0.1:{free_port()}"
    begun = time.monotonic()
    out, printed = run(url, tmp_path, WORK)
    # Then the process ends all the same, says at most once what is lost, and nothing else
    assert float(out) < 8
    assert time.monotonic() - begun < 60
    assert printed.count("Telemetry is lost") <= 1
    assert "exporter.otlp" not in printed
    assert collector.taken == []


def test_a_collector_that_stalls_costs_neither_memory_nor_time(collector, tmp_path):
    # Given a collector that never answers
    collector.seconds = 600
    # When a process makes far more spans and records than may wait
    out, _ = run(collector.url, tmp_path, FLOOD)
    # Then they are dropped: nothing grows, and nobody waits
    grown, seconds = out.split()
    assert collector.requests > 0
    assert int(grown) < 8 * 1024 * 1024
    assert float(seconds) < 60
