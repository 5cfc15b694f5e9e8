"""The tracing middleware under Dramatiq's own worker, stub broker and AsyncIO middleware."""

import gc
import threading
from collections.abc import Callable, Iterator

import dramatiq
import pytest
from dramatiq.brokers.stub import StubBroker
from dramatiq.common import current_millis
from dramatiq.errors import Retry
from dramatiq.middleware import AgeLimit, AsyncIO, Middleware, Pipelines, Retries, SkipMessage
from opentelemetry import context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanKind, StatusCode

from brokers.tracing import Tracing
from lightning.errors import Permanent
from lightning.telemetry import carrier, names

JOIN_MS = 5000


class Announcing(InMemorySpanExporter):
    def __init__(self, ended: threading.Condition) -> None:
        super().__init__()
        self.ended = ended

    def export(self, spans):
        with self.ended:
            self.ended.notify_all()
            return super().export(spans)


class Recorded:
    """The spans that ended, and a tracer to make more."""

    def __init__(self) -> None:
        self.ended = threading.Condition()
        self.exporter = Announcing(self.ended)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def all(self) -> list[ReadableSpan]:
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)

    def eventually(self, condition: Callable[[], object]) -> bool:
        """Wait for a span to end, with a bound."""
        with self.ended:
            return self.ended.wait_for(lambda: bool(condition()), timeout=5)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def ancestry(self, span: ReadableSpan) -> list[str]:
        by_id = {other.context.span_id: other for other in self.all()}
        path = [span.name]
        while span.parent is not None:
            span = by_id[span.parent.span_id]
            path.append(span.name)
        return path


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(params=["first", "last"])
def broker(request: pytest.FixtureRequest, recorded: Recorded) -> StubBroker:
    """Dramatiq's middleware around ours, which may stand at either end."""
    others: list[Middleware] = [AgeLimit(), Retries(min_backoff=10, max_backoff=20), Pipelines(), AsyncIO()]
    tracing = Tracing(tracer_provider=recorded.provider)
    broker = StubBroker(middleware=[tracing, *others] if request.param == "first" else [*others, tracing])
    broker.emit_after("process_boot")
    return broker


@pytest.fixture
def work(broker: StubBroker) -> Iterator[Callable[[], None]]:
    """Start a worker; what it returns waits until the queue is done."""
    worker = dramatiq.Worker(broker, worker_timeout=20, worker_threads=2)

    def run() -> None:
        if not worker.workers:
            worker.start()
        broker.join("default", timeout=JOIN_MS, fail_fast=False)
        worker.join()

    yield run
    if worker.workers:
        worker.stop()


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_one_trace_leads_from_the_request_over_a_retry_to_the_end(broker, recorded, work, kind):
    # Given an actor, with a span of its own, that fails once
    attempts = []

    def body() -> None:
        with recorded.tracer.start_as_current_span("inner"):
            attempts.append(trace.get_current_span())
            if len(attempts) == 1:
                raise ValueError("not yet")

    async def async_body() -> None:
        body()

    actor = dramatiq.actor(body if kind == "sync" else async_body, broker=broker, actor_name="act")

    # When it is sent within a request
    with recorded.tracer.start_as_current_span("POST /api/events", kind=SpanKind.SERVER):
        actor.send()
    work()

    # Then both attempts are in the request's trace, the second caused by the first
    first, second = recorded.named("process default")
    assert {span.context.trace_id for span in recorded.all()} == {
        recorded.one("POST /api/events").context.trace_id
    }
    assert recorded.ancestry(first) == ["process default", "send default", "POST /api/events"]
    # The stub broker sends a delayed message twice: to its delay queue and back.
    assert recorded.ancestry(second) == [
        "process default",
        "send default",
        "send default",
        *recorded.ancestry(first),
    ]
    assert [recorded.ancestry(span)[1] for span in recorded.named("inner")] == ["process default"] * 2
    assert [span.parent.span_id for span in recorded.named("inner")] == [
        first.context.span_id,
        second.context.span_id,
    ]
    # And each says which attempt it was and how it ended
    assert [span.attributes[names.ATTEMPT] for span in (first, second)] == [1, 2]
    assert first.status.status_code is StatusCode.ERROR
    assert first.status.description == "ValueError: not yet"
    assert second.status.status_code is StatusCode.UNSET


async def _current_in_coroutine() -> int:
    return trace.get_current_span().get_span_context().span_id


@pytest.mark.parametrize("broker", ["last"], indirect=True)
def test_async_actors_at_the_same_time_each_see_their_own_span(broker, recorded, work):
    # Given two messages in hand at once, on one event loop
    both = threading.Barrier(2, timeout=5)
    seen: dict[str, int] = {}

    @dramatiq.actor(broker=broker)
    async def act(name: str) -> None:
        import asyncio

        await asyncio.to_thread(both.wait)
        seen[name] = await asyncio.create_task(_current_in_coroutine())

    sent = {name: act.send(name).message_id for name in ("a", "b")}
    work()

    # Then each found the span of its own message, in a task that it started too
    spans = {
        span.attributes[names.MESSAGE_ID]: span.context.span_id for span in recorded.named("process default")
    }
    assert seen == {name: spans[message_id] for name, message_id in sent.items()}


def test_the_consumer_has_the_sender_as_parent_and_as_link_with_the_time_of_sending(broker, recorded, work):
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    before = current_millis()
    act.send()
    work()

    send, process = recorded.one("send default"), recorded.one("process default")
    [link] = process.links
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert send.parent is None
    assert process.parent.span_id == link.context.span_id == send.context.span_id
    assert before <= link.attributes[names.LINK_ENQUEUED_TIME] <= process.start_time // 1_000_000
    assert isinstance(link.attributes[names.LINK_ENQUEUED_TIME], int)


def test_the_wait_of_a_retry_counts_from_the_retry(broker, recorded, work):
    attempts = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise ValueError

    message = act.message()
    broker.enqueue(message.copy(message_timestamp=1))  # as if sent long ago
    work()

    first, second = recorded.named("process default")
    assert first.links[0].attributes[names.LINK_ENQUEUED_TIME] == 1
    assert second.links[0].attributes[names.LINK_ENQUEUED_TIME] >= first.start_time // 1_000_000


def test_a_lightning_message_names_its_event_and_brings_its_trace(broker, recorded, work):
    # Given a message whose event was recorded in a trace, resent by a clock without one
    @dramatiq.actor(broker=broker)
    def act(**kwargs: object) -> None: ...

    with recorded.tracer.start_as_current_span("origin") as origin:
        stored = carrier.current()
    act.send(userID="u", eventID="e-1", wake=0, trace=stored)
    work()

    send, process = recorded.one("send default"), recorded.one("process default")
    assert send.parent.span_id == origin.get_span_context().span_id
    assert process.context.trace_id == origin.get_span_context().trace_id
    for span in (send, process):
        assert span.attributes[names.EVENT] == "e-1"
        assert span.attributes[names.ACTOR] == "act"
        assert span.attributes[names.QUEUE] == span.attributes[names.MESSAGING_DESTINATION_NAME] == "default"


def test_the_stored_trace_of_an_event_is_used_when_the_queue_lost_the_sender(broker, recorded, work):
    @dramatiq.actor(broker=broker)
    def act(**kwargs: object) -> None: ...

    with recorded.tracer.start_as_current_span("origin") as origin:
        stored = carrier.current()
    broker.queues["default"].put(act.message(eventID="e", trace=stored).encode())
    work()

    assert recorded.one("process default").parent.span_id == origin.get_span_context().span_id


def test_a_message_from_a_program_without_tracing_begins_a_trace(broker, recorded, work):
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    broker.queues["default"].put(act.message().encode())
    work()

    process = recorded.one("process default")
    assert process.parent is None
    assert process.links == ()


@pytest.mark.parametrize("junk", ["x", 7, {"traceparent": 1}, {"traceparent": "00-zz"}, [], {"a": {}}])
def test_a_senseless_trace_costs_nothing_but_the_trace(broker, recorded, work, junk):
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    broker.queues["default"].put(act.message_with_options(trace=junk).encode())
    work()

    assert ran == [1]
    assert recorded.one("process default").parent is None


def test_an_error_is_recorded_with_its_code(broker, recorded, work):
    @dramatiq.actor(broker=broker, max_retries=0)
    def act() -> None:
        raise Permanent("no such agent", code="unknown_agent")

    act.send()
    work()

    process = recorded.one("process default")
    assert process.status.status_code is StatusCode.ERROR
    assert process.status.description == "Permanent: no such agent"
    assert process.attributes[names.ERROR_CODE] == "unknown_agent"
    assert process.attributes[names.ERROR_TYPE] == "Permanent"
    assert [event.name for event in process.events] == ["exception"]


def test_asking_for_a_retry_is_not_an_error(broker, recorded, work):
    attempts = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise Retry(delay=1)

    act.send()
    work()

    assert [span.status.status_code for span in recorded.named("process default")] == [StatusCode.UNSET] * 2


class Skipping(Middleware):
    def before_process_message(self, broker, message):
        raise SkipMessage


class Breaking(Middleware):
    def before_process_message(self, broker, message):
        raise dramatiq.middleware.MiddlewareError("broken")


@pytest.mark.parametrize("where", [0, 99])
def test_a_skipped_message_leaves_one_span_that_says_so(broker, recorded, work, where):
    ran = []

    @dramatiq.actor(broker=broker)
    def act() -> None:
        ran.append(1)

    broker.middleware.insert(where, Skipping())
    act.send()
    work()

    process = recorded.one("process default")
    assert ran == []
    assert process.attributes[names.SKIPPED] is True
    assert process.status.status_code is StatusCode.UNSET


def test_a_message_skipped_for_its_age_is_rejected(broker, recorded, work):
    @dramatiq.actor(broker=broker, max_age=1)
    def act() -> None: ...

    broker.enqueue(act.message().copy(message_timestamp=1))
    work()

    process = recorded.one("process default")
    assert process.attributes[names.SKIPPED] is True
    assert (process.status.status_code, process.status.description) == (StatusCode.ERROR, "rejected")


@pytest.mark.parametrize("where", [0, 99])
def test_no_span_leaks_when_other_middleware_breaks(broker, recorded, work, where):
    @dramatiq.actor(broker=broker, max_retries=0)
    def act() -> None: ...

    broken = Breaking()
    broker.middleware.insert(where, broken)
    act.send()
    work()
    broker.middleware.remove(broken)
    for _ in range(4):
        act.send()
    work()

    # Every process span ended, once, and none hangs from another message's
    spans = recorded.named("process default")
    assert len(spans) == 5
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] + [StatusCode.UNSET] * 4
    assert all(recorded.ancestry(span) == ["process default", "send default"] for span in spans)


def test_a_message_for_an_unknown_actor_leaves_an_error(broker, recorded, work):
    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    broker.enqueue(act.message().copy(actor_name="gone"))
    work()

    # The rejection itself is what ends the wait above; the span follows it.
    assert recorded.eventually(lambda: recorded.named("process default"))
    process = recorded.one("process default")
    assert (process.status.status_code, process.status.description) == (
        StatusCode.ERROR,
        "no actor gone here",
    )
    assert recorded.ancestry(process) == ["process default", "send default"]


def test_the_next_stage_of_a_pipeline_hangs_from_the_one_before(broker, recorded, work):
    @dramatiq.actor(broker=broker)
    def one() -> int:
        return 1

    @dramatiq.actor(broker=broker)
    def two(number: int) -> None: ...

    dramatiq.pipeline([one.message(), two.message()], broker=broker).run()
    work()

    last = recorded.named("process default")[-1]
    assert recorded.ancestry(last) == ["process default", "send default"] * 2


def test_a_send_that_failed_leaves_an_error(recorded):
    class Refusing(StubBroker):
        def enqueue(self, message, *, delay=None):
            self.emit_before("enqueue", message, delay)
            raise ConnectionError("gone")

    broker = Refusing(middleware=[Tracing(tracer_provider=recorded.provider)])
    actor = dramatiq.actor(lambda: None, broker=broker, actor_name="act")
    with pytest.raises(ConnectionError):
        actor.send()
    gc.collect()

    assert recorded.one("send default").status.status_code is StatusCode.ERROR


def test_messages_sent_as_one_batch_each_have_their_span(recorded):
    broker = StubBroker(middleware=[Tracing(tracer_provider=recorded.provider)])
    actor = dramatiq.actor(lambda: None, broker=broker, actor_name="act")
    messages = [actor.message() for _ in range(3)]
    for message in messages:
        broker.emit_before("enqueue", message, None)
    for message in messages:
        broker.emit_after("enqueue", message, None)

    sent = recorded.named("send default")
    assert [span.attributes[names.MESSAGE_ID] for span in sent] == [m.message_id for m in messages]
    assert {span.status.status_code for span in sent} == {StatusCode.UNSET}
    assert b"_lightning" not in messages[0].encode()


def test_service_bus_attributes_are_the_ones_that_the_map_reads(recorded):
    tracing = Tracing(
        system="servicebus",
        server_address="x.servicebus.windows.net",
        server_port=5671,
        tracer_provider=recorded.provider,
    )
    broker = StubBroker(middleware=[tracing])
    dramatiq.actor(lambda: None, broker=broker, actor_name="act").send()

    attributes = recorded.one("send default").attributes
    assert attributes[names.AZ_NAMESPACE] == "Microsoft.ServiceBus"
    assert attributes[names.SERVER_ADDRESS] == "x.servicebus.windows.net"
    assert attributes[names.SERVER_PORT] == 5671
    assert attributes[names.MESSAGING_SYSTEM] == "servicebus"


@pytest.mark.parametrize("provider", [None, TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)])
def test_the_context_passes_through_a_process_that_does_not_record(provider):
    # Given a process without a tracer provider, or whose sampler is off
    broker = StubBroker(middleware=[Tracing(tracer_provider=provider)])
    actor = dramatiq.actor(lambda: None, broker=broker, actor_name="act")
    remote = trace.SpanContext(0x1234, 0x56, is_remote=True, trace_flags=trace.TraceFlags(0))

    # When it sends within a trace that came from elsewhere
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(remote)))
    message = actor.send()
    context.detach(token)

    # Then the trace goes on
    assert message.options["trace"]["traceparent"].startswith(f"00-{0x1234:032x}-")


def test_a_broken_span_processor_costs_only_the_trace(caplog):
    class Broken(SimpleSpanProcessor):
        def on_start(self, span, parent_context=None):
            raise RuntimeError("broken")

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken(InMemorySpanExporter()))
    broker = StubBroker(middleware=[Tracing(tracer_provider=provider)])
    dramatiq.actor(lambda: None, broker=broker, actor_name="act").send()

    assert broker.queues["default"].qsize() == 1
    assert "without its trace" in caplog.text


def test_nothing_stays_current_on_a_worker_thread(broker, recorded, work):
    # Given a middleware that looks around before ours opens the next span
    seen = []

    class Looking(Middleware):
        def before_process_message(self, broker, message):
            seen.append(trace.get_current_span().get_span_context().is_valid)

        def after_ack(self, broker, message):
            seen.append(trace.get_current_span().get_span_context().is_valid)

    broker.middleware.insert(0, Looking())

    @dramatiq.actor(broker=broker)
    def act() -> None: ...

    for _ in range(6):
        act.send()
    work()

    assert seen == [False] * 12
