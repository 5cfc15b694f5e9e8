import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from lightning.telemetry import carrier

TRACEPARENT = f"00-{0xABC:032x}-{0xDEF:016x}-01"


@pytest.fixture
def active():
    span = SpanContext(
        0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1), trace_state=TraceState([("vendor", "x")])
    )
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(span), baggage.set_baggage("a", "b")))
    yield span
    context.detach(token)


def test_without_a_span_there_is_nothing_to_carry():
    assert carrier.current() == {}


def test_the_active_span_is_carried_and_its_baggage_is_not(active):
    assert carrier.current() == {"traceparent": TRACEPARENT, "tracestate": "vendor=x"}


def test_what_was_carried_comes_back(active):
    parent = trace.get_current_span(carrier.parent(carrier.current())).get_span_context()
    assert (parent.trace_id, parent.span_id, parent.is_remote) == (0xABC, 0xDEF, True)
    assert parent.trace_flags.sampled
    assert parent.trace_state.get("vendor") == "x"


@pytest.mark.parametrize(
    "junk",
    [
        None,
        "x",
        3,
        [],
        {},
        {"traceparent": None},
        {"traceparent": ["00"]},
        {"traceparent": "00-00-00-00"},
        {"traceparent": f"00-{0:032x}-{1:016x}-01"},
        {3: 4},
    ],
)
def test_what_cannot_be_read_begins_a_new_trace_whatever_is_active(active, junk):
    assert carrier.parent(junk) == {}


def test_an_unreadable_state_does_not_cost_the_trace():
    parent = carrier.parent({"traceparent": TRACEPARENT, "tracestate": {"a": 1}})
    assert trace.get_current_span(parent).get_span_context().trace_id == 0xABC


@pytest.mark.parametrize(
    "traceparent",
    [
        TRACEPARENT,
        *(f"00-{0xABC:032x}-{0xDEF:016x}-{flags}" for flags in ("00", "02", "03", "04", "ff", "1", "0g")),
        f"00-{2**128 - 1:032x}-{2**64 - 1:016x}-01",
        f"00-{0:032x}-{1:016x}-01",
        f"00-{1:032x}-{0:016x}-01",
        f"cc-{0xABC:032x}-{0xDEF:016x}-01-later",
        TRACEPARENT.upper(),
        f" {TRACEPARENT} ",
        f"{TRACEPARENT}\n",
        f"{TRACEPARENT}-more",
    ],
)
def test_a_context_is_read_as_the_propagator_reads_it(traceparent):
    def read(found):
        span = trace.get_current_span(found).get_span_context()
        return set(found) and (*span, span.trace_flags.random_trace_id)

    expected = TraceContextTextMapPropagator().extract({"traceparent": traceparent}, context.Context())
    assert read(carrier.parent({"traceparent": traceparent})) == read(expected)
