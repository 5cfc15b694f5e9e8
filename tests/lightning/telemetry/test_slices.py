"""Long work on spans, which leaves the processor to others now and then."""

import resource
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lightning.telemetry.batching import MAX_BATCH_SPANS
from lightning.telemetry.cleaning import Cleaner
from lightning.telemetry.destination import Destination, OutwardExporter
from lightning.telemetry.exporter import SpanStoreExporter
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.slices import SPANS, Unhurried

PAUSES = MAX_BATCH_SPANS // SPANS - 1


class Reader(SpanExporter):
    """Goes through what it is given, as each exporter does."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def export(self, spans):
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.fixture
def batch():
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    for number in range(MAX_BATCH_SPANS):
        tracer.start_span(f"work {number}").end()
    return list(memory.get_finished_spans())


@contextmanager
def pausing(at_least: int):
    """See that this thread leaves the processor of its own will so often."""
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    yield
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before >= at_least


def test_what_is_sent_is_cleaned_and_read_with_pauses(batch):
    reader = Reader()
    outward = OutwardExporter(
        Destination("somewhere", reader, None, None, takes_exemplars=False), Cleaner(Redactor())
    )
    with pausing(at_least=2 * PAUSES):
        assert outward.export(batch) is SpanExportResult.SUCCESS
    assert reader.names == [span.name for span in batch]


def test_rows_are_made_with_pauses(batch):
    rows = []
    # in the place of the store, whose disk is waited for too
    exporter = SpanStoreExporter(SimpleNamespace(add_rows=rows.extend), Cleaner(Redactor()))
    with pausing(at_least=PAUSES):
        assert exporter.export(batch) is SpanExportResult.SUCCESS
    assert len(rows) == len(batch)


@pytest.mark.parametrize("count", [0, 1, SPANS - 1, SPANS, SPANS + 1, 3 * SPANS])
def test_nothing_is_left_out(count):
    assert list(Unhurried(range(count))) == list(range(count))
