"""What stands for Application Insights while telemetry is measured: it misses nothing."""

import subprocess
import sys

import httpx2
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from lightning.telemetry.azure_monitor import open_azure_monitor
from ops.bench.connection import Connection, request
from ops.bench.ingestion import COUNT_PATH


@pytest.fixture
def ingestion():
    command = [sys.executable, "-m", "ops.bench.ingestion"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def taken(url: str) -> int:
    return httpx2.get(f"{url}{COUNT_PATH}", trust_env=False).json()


def test_all_spans_are_counted_and_nothing_else(ingestion):
    # Given spans of every kind, the same of which again come from templates, and a log record
    memory, logs = InMemorySpanExporter(), LoggerProvider(shutdown_on_exit=False)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    for kind in [*SpanKind] * 20:
        attributes = {"lightning.user": 'said "iKey": "RequestData"'}
        provider.get_tracer("test").start_span("work", kind=kind, attributes=attributes).end()
    key = "InstrumentationKey=00000000-0000-0000-0000-000000000001"
    destination = open_azure_monitor(f"{key};IngestionEndpoint={ingestion}/", None)
    logs.add_log_record_processor(SimpleLogRecordProcessor(destination.logs))
    # When the exporter sends them
    sent = destination.spans.export(memory.get_finished_spans())
    logs.get_logger("test").emit(body="a word")
    # Then it is told that all was taken
    assert sent is SpanExportResult.SUCCESS
    assert taken(ingestion) == len(memory.get_finished_spans()) == 100
    logs.shutdown()


async def test_requests_are_read_however_they_are_cut(ingestion):
    body = b'[{"iKey": "k", "data": {"baseType": "RequestData"}}]'
    connection = await Connection.open(ingestion)
    for at in (1, 40, len(request("POST", "/v2.1/track", "token", body)) - 3):
        whole = request("POST", "/v2.1/track", "token", body)
        connection._transport.write(whole[:at])
        status, answer = await connection.ask(whole[at:])
        assert (status, answer) == (200, b'{"itemsReceived":1,"itemsAccepted":1,"errors":[]}')
    connection.close()
    assert taken(ingestion) == 3
