"""Lean spans: those that the SDK makes, to the last value."""

import asyncio
import json

import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from lightning.telemetry import carrier
from lightning.telemetry.lean import LeanSpan
from lightning.telemetry.relay import RelayingProvider

CALLER = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-00", "tracestate": "vendor=1"}
LINKED = trace.get_current_span(carrier.parent(CALLER)).get_span_context()


class Odd:
    def __str__(self) -> str:
        return "odd"


def plain(tracer) -> None:
    tracer.start_span("plain").end()


def everything(tracer) -> None:
    attributes = {"a": "x", "b": [1, 2], "c": {"d": (1, None)}, "f": 2**70, "g": Odd(), "h": None}
    link = Link(LINKED, {"enqueuedTime": 1})
    context = carrier.parent(CALLER)
    span = tracer.start_span("all", context, SpanKind.CONSUMER, attributes, [link], start_time=5)
    attributes["b"].append(3)
    span.set_attribute("a", True)
    span.set_attributes({"z": 1.5, "b": ["new"]})
    span.add_event("seen", {"n": 1}, 7)
    span.add_link(LINKED, {"later": True})
    span.set_status(Status(StatusCode.ERROR, "no"))
    span.update_name("renamed")
    span.end(9)


def failing(tracer) -> None:
    with pytest.raises(KeyError), tracer.start_as_current_span("outer"), tracer.start_span("inner"):
        raise KeyError("why")


def after_the_end(tracer) -> None:
    span = tracer.start_span("over", attributes={"a": 1})
    span.end(50)
    span.set_attribute("b", 2)
    span.set_attributes({"c": 3})
    span.update_name("other")
    span.add_event("late")
    span.end(99)
    assert not span.is_recording()


def children(tracer) -> None:
    with tracer.start_as_current_span("outer", kind=SpanKind.SERVER) as outer:
        outer.set_attribute("route", "/")
        with tracer.start_as_current_span("inner", attributes={}):
            pass


def left_alone(tracer) -> None:
    options = {"record_exception": False, "set_status_on_exception": False}
    with pytest.raises(KeyError), tracer.start_as_current_span("untold", **options):
        raise KeyError("why")
    with pytest.raises(KeyboardInterrupt), tracer.start_as_current_span("stopped"):
        raise KeyboardInterrupt
    with tracer.start_as_current_span("open", end_on_exit=False) as span:
        pass
    assert span.is_recording()
    span.end()
    placed = (None, SpanKind.CLIENT, {"a": 1}, (), 5, True, True, False)
    with tracer.start_as_current_span("placed", *placed) as span:
        pass
    assert span.is_recording()
    span.end()


def ended_within(tracer) -> None:
    def work() -> None:
        with tracer.start_as_current_span("over") as span:
            span.end(50)
            raise KeyError("late")

    with pytest.raises(KeyError):
        work()


def decorated(tracer) -> None:
    @tracer.start_as_current_span("called", kind=SpanKind.CLIENT)
    def call(left: int) -> None:
        if left:
            call(left - 1)

    @tracer.start_as_current_span("awaited")
    async def wait() -> bool:
        await asyncio.sleep(0)
        return trace.get_current_span().is_recording()

    call(2)
    assert asyncio.run(wait())
    assert not trace.get_current_span().is_recording()


def told_by(provider, work) -> list[dict]:
    memory = InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    work(provider.get_tracer("scope", "1", "schema", {"of": "scope"}))
    spans = memory.get_finished_spans()
    ids = {f"0x{span.context.span_id:016x}": number for number, span in enumerate(spans)}
    told = []
    for span in spans:
        document = json.loads(span.to_json())
        document["context"]["span_id"] = ids[document["context"]["span_id"]]
        document["parent_id"] = ids.get(document["parent_id"], document["parent_id"])
        if span.context.trace_id != LINKED.trace_id:
            document["context"]["trace_id"] = len(document["context"]["trace_id"])
        document |= {"flags": int(span.context.trace_flags), "scope": span.instrumentation_scope.to_json()}
        for name in ("start_time", "end_time"):  # those that are given are of 1970
            if not document[name].startswith("1970"):
                document[name] = "now"
        for event in document["events"]:
            event["timestamp"] = event["timestamp"][:4]
            event["attributes"].pop("exception.stacktrace", None)
        told.append(document)
    return told


WORKS = [plain, everything, failing, after_the_end, children, left_alone, ended_within, decorated]


@pytest.mark.parametrize("work", WORKS)
def test_a_lean_span_tells_what_one_of_the_sdk_tells(work):
    lean, whole = (
        told_by(kind(sampler=ALWAYS_ON, resource=Resource({"a": "b"}), shutdown_on_exit=False), work)
        for kind in (RelayingProvider, TracerProvider)
    )
    assert lean == whole


def test_attributes_that_are_too_many_are_left_out():
    provider = RelayingProvider(
        sampler=ALWAYS_ON, span_limits=SpanLimits(max_span_attributes=2), shutdown_on_exit=False
    )
    span = provider.get_tracer("t").start_span("work", attributes={"a": 1, "b": 2, "c": 3})
    assert isinstance(span, LeanSpan)
    span.set_attributes({"d": 4, "a": 5})
    assert dict(span.attributes) == {"a": 5, "b": 2}


def test_what_a_sampler_or_a_longest_text_asks_for_is_the_work_of_the_sdk():
    off = RelayingProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("t").start_span("work")
    assert not off.is_recording()
    limits = SpanLimits(max_span_attribute_length=3)
    provider = RelayingProvider(sampler=ALWAYS_ON, span_limits=limits, shutdown_on_exit=False)
    assert provider.get_tracer("t").start_span("work", attributes={"a": "abcdef"}).attributes["a"] == "abc"
