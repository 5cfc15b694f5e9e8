"""Spans on their way out: as they are if they hold no secret, else as copies without it."""

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, Status, StatusCode

from lightning.telemetry.cleaning import MAX_HARMLESS, MAX_TEXT_LENGTH, Cleaner
from lightning.telemetry.redaction import Redactor

CANARY = 'canary-"quoted"-3f9d1c77'


@pytest.fixture
def finished():
    """Give a tracer, and what reads the spans that it has finished."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider.get_tracer("test"), memory.get_finished_spans


def everything(span) -> str:
    links = [dict(link.attributes) for link in span.links]
    events = [(event.name, dict(event.attributes)) for event in span.events]
    return str((span.name, span.status.description, dict(span.attributes), links, events))


def test_spans_without_secrets_go_out_as_they_are(finished):
    # Given spans with all that a span can have
    tracer, spans = finished
    with tracer.start_as_current_span("first") as first:
        first.add_event("seen", {"n": 1})
    link = Link(first.get_span_context(), {"why": "so"})
    attributes = {"a": "text", "b": ["x", "y"], "c": True, "d": b"bytes", "e": {"f": 1}}
    with tracer.start_as_current_span("second", links=[link], attributes=attributes):
        pass
    # Then none is copied
    assert all(
        out is span for out, span in zip(Cleaner(Redactor([CANARY])).spans(spans()), spans(), strict=True)
    )


@pytest.mark.parametrize(
    "place",
    ["name", "key", "value", "list", "bytes", "event name", "event", "link", "status", "beside a surrogate"],
)
def test_a_secret_is_taken_out_wherever_a_span_holds_it(finished, place):
    # Given two spans, one with a secret
    tracer, spans = finished
    with tracer.start_as_current_span("harmless") as other:
        pass
    held = {"key": {CANARY: 1}, "value": {"a": f"so {CANARY}"}, "list": {"a": ["b", CANARY]}}
    held |= {"bytes": {"a": CANARY.encode()}, "beside a surrogate": {"a": CANARY, "b": "\udc80"}}
    links = [Link(other.get_span_context(), {"a": CANARY})] if place == "link" else []
    name = CANARY if place == "name" else "work"
    with tracer.start_as_current_span(name, attributes=held.get(place), links=links) as span:
        if place in {"event name", "event"}:
            span.add_event(*((CANARY,) if place == "event name" else ("e", {"a": CANARY})))
        if place == "status":
            span.set_status(Status(StatusCode.ERROR, f"refused {CANARY}"))
    assert "canary" in everything(spans()[1])
    # Then what goes out has it no more, and says otherwise the same
    harmless, cleaned = Cleaner(Redactor([CANARY])).spans(spans())
    assert "canary" not in everything(cleaned)
    assert "[redacted]" in everything(cleaned)
    assert everything(harmless) == everything(spans()[0])
    assert (cleaned.context, cleaned.start_time) == (spans()[1].context, spans()[1].start_time)


def test_what_was_harmless_once_is_passed_over_and_a_secret_never(finished):
    # Given spans that are alike, but for the last attribute of one
    tracer, spans = finished
    for value in ("word", CANARY, "word", CANARY):
        with tracer.start_as_current_span("work", attributes={"a": "word", "b": value}):
            pass
    cleaner = Cleaner(Redactor([CANARY]))
    # Then each secret is found, whatever went out before
    out = [cleaner.spans([span])[0] for span in spans()]
    assert [span.attributes["b"] for span in out] == ["word", "[redacted]", "word", "[redacted]"]
    assert [out[0] is spans()[0], out[2] is spans()[2]] == [True, True]


def test_what_is_remembered_as_harmless_is_bounded(finished):
    tracer, spans = finished
    cleaner = Cleaner(Redactor([CANARY]))
    for number in range(MAX_HARMLESS + 50):
        with tracer.start_as_current_span("work", attributes={"a": f"word {number}", "b": "x" * 40}):
            pass
    kept = [cleaner.spans([span]) and len(cleaner._harmless) for span in spans()]
    assert max(kept) <= MAX_HARMLESS + 10
    assert kept[-1] < MAX_HARMLESS
    assert not any(len(text) > 24 for text in cleaner._harmless)


def test_what_is_too_long_is_cut(finished):
    tracer, spans = finished
    with tracer.start_as_current_span("work", attributes={"a": "x" * (MAX_TEXT_LENGTH + 1)}):
        pass
    [cut] = Cleaner(Redactor()).spans(spans())
    assert len(cut.attributes["a"]) == MAX_TEXT_LENGTH
