"""Spans that wait to be exported: in batches, within bounds, and counted when they are lost."""

import threading

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from lightning.telemetry import names
from lightning.telemetry.batching import MAX_BATCH_SPANS, Batches, measure

BOUND = 100


class Gate(SpanExporter):
    """An exporter that stalls while its gate is shut, and fails as it is told."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.entered, self.open = threading.Event(), threading.Event()
        self.open.set()
        self.fault: Exception | SpanExportResult = SpanExportResult.SUCCESS

    def export(self, spans):
        self.entered.set()
        assert self.open.wait(20)
        self.batches.append(len(spans))
        if isinstance(self.fault, Exception):
            raise self.fault
        return self.fault


@pytest.fixture
def metrics():
    reader = InMemoryMetricReader()

    def read() -> dict[str, int]:
        scopes = reader.get_metrics_data().resource_metrics[0].scope_metrics
        points = {each.name: each.data.data_points for scope in scopes for each in scope.metrics}
        where = {names.TELEMETRY_DESTINATION: "somewhere"}
        assert [point.attributes for [point] in points.values()] == [where, where]
        return {name.rpartition(".")[2]: point.value for name, [point] in points.items()}

    read.meters = MeterProvider([reader], shutdown_on_exit=False)
    return read


@pytest.fixture
def build(metrics):
    """Make a tracer whose spans go through batches to a gate."""
    providers = []

    def make(**options):
        gate = Gate()
        options = {"delay_seconds": 0.01, "max_spans": BOUND, **options}
        batches = Batches(gate, name="somewhere", **options)
        measure([batches], metrics.meters)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(batches)
        providers.append((provider, gate))

        def work(count: int) -> None:
            for _ in range(count):
                provider.get_tracer("t").start_span("work").end()

        return gate, provider, work

    yield make
    for provider, gate in providers:
        gate.open.set()
        provider.shutdown()


def test_while_the_exporter_stalls_no_more_wait_than_may_and_the_rest_is_counted(build, metrics):
    # Given an exporter that has a span in hand, and does not come back
    gate, provider, work = build()
    gate.open.clear()
    work(1)
    assert gate.entered.wait(20)
    # When far more spans end than may wait
    work(BOUND + 50)
    # Then so many wait, and the others are lost
    assert metrics() == {"waiting": BOUND, "lost": 50}
    # And when it goes on, what waited is exported, and no more is lost
    gate.open.set()
    assert provider.force_flush()
    assert sum(gate.batches) == 1 + BOUND
    assert metrics() == {"waiting": 0, "lost": 50}


@pytest.mark.parametrize("fault", [SpanExportResult.FAILURE, OSError("no way")])
def test_what_an_exporter_fails_at_is_lost_and_the_next_batch_is_tried(build, metrics, fault, caplog):
    gate, provider, work = build(delay_seconds=60)
    gate.fault = fault
    work(3)
    assert provider.force_flush()
    gate.fault = SpanExportResult.SUCCESS
    work(2)
    assert provider.force_flush()
    assert gate.batches == [3, 2]
    assert metrics() == {"waiting": 0, "lost": 3}
    assert len(caplog.records) == isinstance(fault, OSError)


def test_many_spans_are_exported_in_batches_and_before_their_delay_if_they_are_half_of_what_may_wait(build):
    # Given spans that may wait for a minute
    gate, _, work = build(delay_seconds=60, max_spans=2 * (MAX_BATCH_SPANS + 1))
    work(MAX_BATCH_SPANS + 2)
    # Then those that fill half of the room are on their way at once
    assert gate.entered.wait(20)
    assert max(gate.batches, default=0) <= MAX_BATCH_SPANS


def test_the_end_exports_what_waits_and_later_spans_are_lost(build, metrics):
    gate, provider, work = build(delay_seconds=60)
    work(5)
    provider.shutdown()
    work(2)
    assert gate.batches == [5]
    assert metrics() == {"waiting": 0, "lost": 2}
    assert not provider.force_flush()
