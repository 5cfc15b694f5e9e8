"""Tracing and logging as a process switches them on; each in a process of its own, as it is meant."""

import json
import logging
import os
import subprocess
import sys
from datetime import datetime, timedelta

import pytest
import structlog
from opentelemetry.sdk.trace import TracerProvider

from lightning.telemetry import names
from lightning.telemetry.logs import configure_logging
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.spans import SpanStore

CANARY = 'canary-"quoted"-3f9d1c77'


@pytest.fixture
def log(capsys):
    """Configure logging for one test; what it returns reads the JSON lines."""
    root = logging.getLogger()
    before = root.handlers, root.level
    structlog_before = structlog.get_config()

    def configure(log_format: str = "json", log_level: str = "debug") -> None:
        configure_logging(log_format=log_format, log_level=log_level, redactor=Redactor([CANARY]))

    configure.lines = lambda: [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    configure.text = lambda: capsys.readouterr().err
    yield configure
    root.handlers, root.level = before
    structlog.configure(**structlog_before)


@pytest.mark.parametrize("get_logger", [structlog.get_logger, logging.getLogger])
def test_both_kinds_of_logger_write_the_same_record(log, get_logger):
    log()
    logger = get_logger("some.where")
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s") as span:
        logger.warning("hello %s", "you")
    [record] = log.lines()
    context = span.get_span_context()
    assert record["event"] == "hello you"
    assert (record["level"], record["logger"]) == ("warning", "some.where")
    assert record["trace_id"] == f"{context.trace_id:032x}"
    assert record["span_id"] == f"{context.span_id:016x}"
    assert datetime.fromisoformat(record["timestamp"]).utcoffset() == timedelta(0)


def test_without_a_span_there_are_no_ids(log):
    log()
    structlog.get_logger("x").info("hello", key=5)
    [record] = log.lines()
    assert record["key"] == 5
    assert "trace_id" not in record


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_no_secret_is_printed(log, log_format):
    # Given records that hold a secret in every place
    log(log_format)

    class Holder:
        def __repr__(self) -> str:
            return f"Holder({CANARY!r})"

    def fail() -> None:
        raise ValueError(f"refused {CANARY}")

    structured, plain = structlog.get_logger("a"), logging.getLogger("b")
    structured.info(f"message {CANARY}", key=CANARY, nested={"x": [CANARY]}, holder=Holder())
    structured.info("positional %s", CANARY)
    plain.info("message %s %s", CANARY, Holder())
    for logger in (structured, plain):
        try:
            fail()
        except ValueError:
            logger.exception("failed")

    # Then it is in none
    text = log.text()
    assert text.count("[redacted]") >= 8
    assert "refused [redacted]" in text
    assert "Traceback" in text
    assert "canary" not in text.replace("{CANARY}", "")


def test_a_record_that_cannot_be_written_does_not_print_its_arguments(log):
    log()
    logging.getLogger("x").info("%d", CANARY)
    text = log.text()
    assert text == "A log record of x could not be written: TypeError\n"


def test_the_level_counts_for_all(log):
    log(log_level="WARNING")
    structlog.get_logger("a").info("quiet")
    logging.getLogger("dramatiq.worker").info("quiet")
    logging.getLogger("uvicorn.error").error("loud")
    assert [record["event"] for record in log.lines()] == ["loud"]


@pytest.mark.parametrize(
    "library", ["azure.cosmos._cosmos_http_logging_policy", "azure.servicebus._pyamqp.link"]
)
def test_libraries_tell_their_troubles_and_not_each_request(log, library):
    log(log_level="debug")
    logging.getLogger(library).info("a request")
    logging.getLogger(library).warning("trouble")
    assert [record["event"] for record in log.lines()] == ["trouble"]


def test_an_unknown_level_is_refused(log):
    with pytest.raises(ValueError, match="LOUD"):
        log(log_level="loud")


def test_libraries_that_bring_handlers_lose_them(log):
    access = logging.getLogger("uvicorn.access")
    access.addHandler(logging.StreamHandler())
    access.propagate = False
    log()
    access.warning("once")
    assert [record["event"] for record in log.lines()] == ["once"]


def run(tmp_path, program: str, **environment: str) -> SpanStore:
    path = tmp_path / "spans.sqlite"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(path)],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    return SpanStore(path)


PROGRAM = """
import sys
from pathlib import Path
from opentelemetry import trace
from lightning.telemetry import carrier
from lightning.telemetry.setup import configure

telemetry = configure(
    service_name="api",
    span_path=Path(sys.argv[1]),
    log_format="json",
    log_level="info",
    secrets=["canary-12345678"],
)
tracer = trace.get_tracer("t")
unsampled = carrier.parent({"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00"})
with tracer.start_as_current_span("work", context=unsampled, attributes={"lightning.event": "e"}) as span:
    span.set_attribute("key", "canary-12345678")
"""


def test_a_span_ends_up_in_the_store_even_if_its_caller_did_not_sample(tmp_path):
    store = run(tmp_path, PROGRAM + "telemetry.shutdown()")
    [span] = store.trace("a" * 32)
    assert store.traces_of_event("e") == ["a" * 32]
    assert span.process.startswith("api:")
    assert span.attributes == {names.EVENT: "e", "key": "[redacted]"}


def test_the_end_of_the_process_flushes_too(tmp_path):
    assert len(run(tmp_path, PROGRAM).trace("a" * 32)) == 1


def test_a_flush_makes_spans_visible_at_once(tmp_path):
    check = """
from lightning.telemetry.spans import SpanStore
assert telemetry.force_flush()
assert len(SpanStore(Path(sys.argv[1])).trace("a" * 32)) == 1
telemetry.shutdown()
assert not telemetry.force_flush()
"""
    run(tmp_path, PROGRAM + check)


def test_the_sampler_is_the_operators_choice(tmp_path):
    store = run(tmp_path, PROGRAM + "telemetry.shutdown()", OTEL_TRACES_SAMPLER="always_off")
    assert store.trace("a" * 32) == []


def test_a_process_is_configured_once(tmp_path):
    again = """
try:
    configure(service_name="x", span_path=None, log_format="json", log_level="info")
except RuntimeError as error:
    assert "once" in str(error)
else:
    raise AssertionError
"""
    run(tmp_path, PROGRAM + again)


def test_without_a_path_no_file_is_made_and_nothing_is_measured_that_nobody_reads(tmp_path):
    end = """
from opentelemetry.metrics import NoOpMeterProvider, get_meter_provider
assert isinstance(get_meter_provider(), NoOpMeterProvider)
telemetry.shutdown()
"""
    store = run(tmp_path, PROGRAM.replace("Path(sys.argv[1])", "None") + end)
    assert not store.path.exists()
