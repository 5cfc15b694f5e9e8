"""What every broker does, so that any Dramatiq program may rely on it.

A test names the capabilities that it needs, and runs on each broker that has them (see `broker_kits`); on
Dramatiq's stub everything runs that its documentation promises of a broker.
"""

import threading
import time
from itertools import pairwise
from typing import Any

import dramatiq
import pytest
from dramatiq import group, pipeline
from dramatiq.errors import BrokerConnectionError, QueueNotFound
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import StubBackend as StubRateLimiterBackend
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import StubBackend as StubResultBackend

from tests.contract.broker_kits import KITS, AzureKit, Kit, eventually, kill, receive, together, working


def needs(*capabilities: str):
    def decorate(function):
        function.needs = frozenset(capabilities)
        return function

    return decorate


def pytest_generate_tests(metafunc):
    if "kit" in metafunc.fixturenames:
        needed = getattr(metafunc.function, "needs", frozenset())
        kinds = [kind for kind, kit in KITS.items() if needed <= kit.capabilities]
        assert kinds, f"no broker can do {sorted(needed)}"
        metafunc.parametrize("kit", kinds, indirect=True)


@pytest.fixture
def kit(request, tmp_path):
    kit = KITS[request.param](tmp_path)
    yield kit
    kit.close()


def test_a_namespace_in_azure_is_among_the_brokers():
    if not AzureKit.connection_string:
        pytest.skip(
            "set LIGHTNING_TEST_SERVICEBUS to the connection string of a namespace with a queue `default`"
        )
    assert KITS["azure"] is AzureKit


class Failures:
    """A crash point that raises where it is armed."""

    def __init__(self) -> None:
        self.armed: list[str] = []
        self.passed: list[str] = []

    def __call__(self, point: str) -> None:
        self.passed.append(point)
        if point in self.armed:
            self.armed.remove(point)
            raise RuntimeError(f"injected at {point}")


def test_a_message_is_delivered(kit: Kit):
    # Given an actor
    broker = kit.open()
    seen: list[Any] = []

    @dramatiq.actor(broker=broker)
    def greet(name, *, times):
        seen.append((name, times))

    # When a message is sent to it and a worker runs
    greet.send("you", times=2)
    with working(broker):
        broker.join("default", timeout=10000)

    # Then it ran once, with its arguments
    assert seen == [("you", 2)]


def test_messages_come_in_the_order_in_which_they_were_sent(kit: Kit):
    broker = kit.open()
    broker.declare_queue("default")
    for number in range(20):
        broker.enqueue(dramatiq.Message("default", "any", (number,), {}, {}))

    consumer = broker.consume(queue_name="default", prefetch=20, timeout=100)
    received = [receive(consumer) for _ in range(20)]
    for message in received:
        consumer.ack(message)
    consumer.close()

    assert [message.args[0] for message in received] == list(range(20))
    assert {message.queue_name for message in received} == {"default"}


def test_a_delayed_message_comes_when_it_is_due(kit: Kit):
    # Given messages that are due in another order than that in which they are sent
    broker = kit.open()
    seen: list[tuple[int, float]] = []
    due: dict[int, tuple[float, float]] = {}

    @dramatiq.actor(broker=broker)
    def note(delay):
        seen.append((delay, time.time()))

    with working(broker, threads=1):
        note.send(0)  # whatever a broker opens at its first message is open then
        eventually(lambda: seen)
        seen.clear()
        for delay in (700, 100, 400):
            before = time.time()
            note.send_with_options(args=(delay,), delay=delay)
            due[delay] = (before + delay / 1000, time.time() + delay / 1000)  # at the earliest, at the latest
        eventually(lambda: len(seen) == 3)

    # Then each comes at its time, none before it, and none before one that was due earlier
    for delay, at in seen:
        assert at >= due[delay][0] - 0.001
    for (earlier, _), (later, _) in pairwise(seen):
        assert due[earlier][0] <= due[later][1]


@needs("native delay")
def test_a_delay_is_precise_and_needs_no_memory_of_a_worker(kit: Kit):
    broker = kit.open()
    seen: list[float] = []

    @dramatiq.actor(broker=broker)
    def note():
        seen.append(time.time())

    late: list[float] = []
    with working(broker, timeout_ms=1000):
        for _ in range(5):
            # When a message is delayed
            due = time.time() + 0.15
            message = note.send_with_options(delay=150)
            # Then no eta is set, which a worker would hold unacknowledged
            assert "eta" not in message.options
            assert broker.get_declared_delay_queues() == set()
            eventually(lambda: seen)
            late.append(seen.pop() - due)

    # And consumers sleep until it is due, no longer
    assert sorted(late)[2] < 0.1


def test_retries_run_again_after_their_backoff(kit: Kit):
    # Given an actor that fails twice
    broker = kit.open()
    ran: list[float] = []

    @dramatiq.actor(broker=broker, max_retries=5, min_backoff=50, max_backoff=200)
    def flaky():
        ran.append(time.time())
        if len(ran) < 3:
            raise RuntimeError("not yet")

    # When it is called
    flaky.send()
    with working(broker):
        broker.join("default", timeout=10000)
        eventually(lambda: len(ran) == 3)

    # Then it ran three times, apart
    assert len(ran) == 3
    assert ran[1] - ran[0] >= 0.045
    assert ran[2] - ran[1] >= 0.045
    assert kit.dead(broker) == []


def test_a_message_that_spends_its_retries_is_a_dead_letter(kit: Kit):
    broker = kit.open()

    @dramatiq.actor(broker=broker, max_retries=1, min_backoff=10, max_backoff=20)
    def doomed():
        raise RuntimeError("the reason of it")

    message = doomed.send()
    with working(broker):
        eventually(lambda: kit.dead(broker))
        broker.join("default", timeout=10000)

    [dead] = kit.dead(broker)
    assert dead.reason == "rejected"
    assert "RuntimeError: the reason of it" in dead.error
    assert dramatiq.Message.decode(dead.body).message_id == message.message_id


def test_a_message_for_an_unknown_actor_is_a_dead_letter(kit: Kit):
    broker = kit.open()
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "nobody", (), {}, {}))

    with working(broker):
        eventually(lambda: kit.dead(broker))


@needs("durable")
@pytest.mark.parametrize(
    "body",
    [
        b"\xff\x00",
        b"[]",
        b"{}",
        b'{"queue_name":"default","actor_name":"greet","args":[],"kwargs":{},"options":null}',
        b'{"queue_name":"default","actor_name":"greet","args":7,"kwargs":{},"options":{}}',
    ],
)
def test_what_cannot_be_decoded_is_a_dead_letter_and_stops_nobody(kit: Kit, body: bytes, caplog):
    caplog.set_level("INFO", "dramatiq")
    # Given bytes that are no message, and a message behind them
    broker = kit.open()
    seen: list[str] = []

    @dramatiq.actor(broker=broker)
    def greet(name):
        seen.append(name)

    greet.send("first")
    kit.inject("default", body)
    greet.send("second")

    # When a worker runs
    with working(broker):
        broker.join("default", timeout=30000)

    # Then the messages ran, without a restart of the consumer
    assert sorted(seen) == ["first", "second"]
    assert "Restarting consumer" not in caplog.text
    [dead] = kit.dead(broker)
    assert (dead.reason, dead.body) == ("undecodable", body)
    assert dead.error


@needs("leases")
def test_a_message_that_kills_its_process_ends_as_a_dead_letter(kit: Kit):
    # Given a message whose actor kills the process
    options = {"lease_seconds": 0.5, "max_deliveries": 3}
    broker = kit.open(**options)
    kit.actors(broker)["kill"].send("poison")

    # When workers are started again and again
    for attempt in range(1, 4):
        worker = kit.start(**options)
        worker.wait(timeout=20)
        assert kit.noted("kill") == ["poison"] * attempt
    worker = kit.start_worker(**options)
    eventually(lambda: kit.dead(broker))

    # Then it is given up after as many deliveries as are allowed, and the last worker lives
    [dead] = kit.dead(broker)
    assert (dead.reason, dead.deliveries) == ("delivery_count_exceeded", 3)
    assert kit.noted("kill") == ["poison"] * 3
    assert worker.poll() is None


@needs("leases")
@pytest.mark.parametrize("deed", ["ack", "nack", "requeue", "retry"])
def test_a_lost_lease_means_redelivery_and_its_holder_can_do_nothing_more(kit: Kit, deed: str):
    # Given a message whose holder stops renewing it
    broker = kit.open(lease_seconds=0.3)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    lost = broker.consume(queue_name="default", prefetch=1, timeout=100)
    stale = receive(lost)
    kit.stop_renewing(broker, lost)

    # When its lease is over
    other = kit.open(lease_seconds=30)
    other.declare_queue("default")
    consumer = other.consume(queue_name="default", prefetch=1, timeout=100)
    message = receive(consumer)

    # Then another gets it
    assert message.message_id == stale.message_id
    # And whatever the old holder does with it has no effect
    deeds = {
        "ack": lambda: lost.ack(stale),
        "nack": lambda: lost.nack(stale),
        "requeue": lambda: lost.requeue([stale]),
        "retry": lambda: (broker.enqueue(stale, delay=10), lost.ack(stale)),
    }
    deeds[deed]()
    assert broker.qsize("default") == 1
    assert kit.dead(broker) == []
    assert next(other.consume(queue_name="default", prefetch=1, timeout=300)) is None
    # While the new holder can complete it
    consumer.ack(message)
    consumer.close()
    assert broker.qsize("default") == 0


@needs("leases")
def test_what_a_killed_worker_held_is_delivered_again(kit: Kit):
    # Given a worker in the middle of a message
    broker = kit.open(lease_seconds=1)
    actors = kit.actors(broker)
    worker = kit.start_worker(lease_seconds=1)
    message = actors["hang"].send("long")
    eventually(lambda: kit.noted("hang") == ["long"])

    # When it is killed
    kill(worker)

    # Then another consumer gets the message
    consumer = broker.consume(queue_name="default", prefetch=1, timeout=1000)
    again = receive(consumer)
    assert again.message_id == message.message_id
    consumer.ack(again)
    consumer.close()


def test_no_more_than_the_prefetch_is_held(kit: Kit):
    broker = kit.open()
    broker.declare_queue("default")
    for number in range(5):
        broker.enqueue(dramatiq.Message("default", "any", (number,), {}, {}))

    # Given a consumer that holds as many as it may
    consumer = broker.consume(queue_name="default", prefetch=2, timeout=100)
    held = [receive(consumer), receive(consumer)]
    assert next(consumer) is None

    # When one is settled, then there is room for one
    consumer.ack(held[0])
    held[0] = receive(consumer)
    assert next(consumer) is None
    assert [message.args[0] for message in held] == [2, 1]

    for message in held:
        consumer.ack(message)
    consumer.close()


def test_an_acknowledgement_wakes_a_consumer_that_is_full(kit: Kit):
    broker = kit.open()
    broker.declare_queue("default")
    for number in range(21):
        broker.enqueue(dramatiq.Message("default", "any", (number,), {}, {}))
    consumer = broker.consume(queue_name="default", prefetch=1, timeout=5000)
    held = receive(consumer)

    # When messages are settled one by one while the consumer waits for room
    started = time.monotonic()
    for _ in range(20):
        settling = threading.Timer(0.01, consumer.ack, [held])
        settling.start()
        held = next(consumer)
        settling.join()
        assert held is not None

    # Then it never waits longer than for the acknowledgement
    assert time.monotonic() - started < 20 * 0.25
    consumer.ack(held)
    consumer.close()


@needs("requeue")
def test_stopping_a_worker_finishes_what_runs_and_gives_back_the_rest(kit: Kit):
    # Given a worker of one thread that is busy, and messages behind the first
    broker = kit.open()
    started, may_finish = threading.Event(), threading.Event()
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        started.set()
        assert may_finish.wait(10)
        ran.append(number)

    for number in range(6):
        work.send(number)

    # When it is told to stop
    with working(broker, threads=1) as worker:
        assert started.wait(10)
        threading.Timer(0.2, may_finish.set).start()
        for thread in worker.workers:
            thread.stop()

    # Then the running one is done, and the others wait for the next worker, at once
    assert ran == [0]
    assert broker.qsize("default") == 5
    with working(broker, threads=1):
        broker.join("default", timeout=5000)
    assert ran == [0, 1, 2, 3, 4, 5]


def test_sending_to_an_unknown_queue_raises(kit: Kit):
    broker = kit.open()
    with pytest.raises(QueueNotFound):
        broker.enqueue(dramatiq.Message("nowhere", "any", (), {}, {}))
    with pytest.raises(QueueNotFound):
        broker.consume(queue_name="nowhere")


@needs("outages")
def test_a_send_that_fails_raises_to_its_sender(kit: Kit):
    # Given a broker that cannot be reached
    broker = kit.open(**kit.impatient)
    broker.declare_queue("default")

    # When a message is sent, then its sender learns of it
    with kit.unreachable(), pytest.raises(BrokerConnectionError):
        broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))

    # And once it can be reached, it works
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    assert broker.qsize("default") == 1


@needs("crashpoints")
@pytest.mark.parametrize("point", ["enqueue:before", "enqueue:after"])
def test_a_retry_that_cannot_be_sent_is_not_lost(kit: Kit, point: str):
    # Given an actor that fails once, and a broker on which sending its retry fails
    failures = Failures()
    broker = kit.open(crashpoint=failures)
    ran: list[int] = []

    @dramatiq.actor(broker=broker, min_backoff=10, max_backoff=20)
    def flaky():
        ran.append(len(ran))
        if len(ran) == 1:
            failures.armed.append(point)
            raise RuntimeError("fails once")

    # When it runs
    flaky.send()
    with working(broker):
        broker.join("default", timeout=10000)

    # Then it ran again, once
    assert ran == [0, 1]
    assert failures.armed == []
    assert kit.dead(broker) == []


@needs("crashpoints")
@pytest.mark.parametrize("how", ["pipeline", "on_success", "group"])
def test_what_follows_a_message_is_not_lost_when_it_cannot_be_sent(kit: Kit, how: str):
    # Given a message that another one follows, and a broker on which sending that one fails once
    failures = Failures()
    callbacks = GroupCallbacks(StubRateLimiterBackend())
    broker = kit.open(crashpoint=failures)
    broker.add_middleware(callbacks)  # after the broker's own
    ran: list[str] = []

    @dramatiq.actor(broker=broker)
    def first():
        if "first" not in ran:
            failures.armed.append("enqueue:before")
        ran.append("first")

    @dramatiq.actor(broker=broker)
    def then(*_of_the_first):
        ran.append("then")

    # When the first runs
    if how == "pipeline":
        pipeline([first.message(), then.message()], broker=broker).run()
    elif how == "on_success":
        first.send_with_options(on_success=then)
    else:
        both = group([first.message()], broker=broker)
        both.add_completion_callback(then.message())
        both.run()
    with working(broker):
        eventually(lambda: "then" in ran)
        broker.join("default", timeout=10000)

    # Then it runs again, and what follows it runs
    assert ran == ["first", "first", "then"]
    assert kit.dead(broker) == []


@needs("crashpoints")
def test_the_points_of_a_crash_surround_the_commits(kit: Kit):
    points = Failures()
    broker = kit.open(crashpoint=points)
    broker.declare_queue("default")

    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    assert points.passed == ["enqueue:before", "enqueue:after"]

    consumer = broker.consume(queue_name="default", timeout=100)
    consumer.ack(receive(consumer))
    assert points.passed[2] == "ack:before"
    consumer.close()
    assert points.passed[2:] == ["ack:before", "ack:after"]


@needs("wipe")
def test_a_broker_that_loses_its_state_carries_on(kit: Kit):
    # Given a worker that works, in this process and in another one
    broker = kit.open()
    actors = kit.actors(broker)
    kit.start_worker()
    actors["record"].send("before")
    eventually(lambda: kit.noted("record") == ["before"])

    for number in range(3):
        # When the state is lost
        kit.wipe()
        # Then sending works, and the worker works on
        actors["record"].send(number)
        eventually(lambda number=number: kit.noted("record")[-1] == str(number))
    assert kit.noted("record") == ["before", "0", "1", "2"]


def test_sixty_four_threads(kit: Kit):
    broker = kit.open()
    lock = threading.Lock()
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        with lock:
            ran.append(number)

    def send(first):
        for number in range(first, first + 100):
            work.send(number)

    with working(broker, threads=64):
        together(*[lambda first=first: send(first) for first in range(0, 800, 100)])
        broker.join("default", timeout=20000)
    assert sorted(ran) == list(range(800))


def test_results_and_pipelines(kit: Kit):
    backend = StubResultBackend()
    broker = kit.open(extra=[Results(backend=backend)])

    @dramatiq.actor(broker=broker, store_results=True)
    def add(x, y):
        return x + y

    @dramatiq.actor(broker=broker, store_results=True, max_retries=0)
    def fail():
        raise RuntimeError("no result")

    with working(broker):
        # A result is kept, and so is a failure
        assert add.send(1, 2).get_result(backend=backend, block=True) == 3
        with pytest.raises(ResultFailure, match="no result"):
            fail.send().get_result(backend=backend, block=True)

        # In a pipeline each result is the next one's argument, delays included
        delayed = add.message_with_options(args=(10,), delay=50)
        chained = pipeline([add.message(1, 2), add.message(3), delayed], broker=broker)
        assert chained.run().get_result(block=True, timeout=10000) == 16


def test_groups_and_their_callbacks(kit: Kit):
    backend = StubResultBackend()
    callbacks = GroupCallbacks(StubRateLimiterBackend())
    broker = kit.open(extra=[Results(backend=backend), callbacks])
    finished = threading.Event()

    @dramatiq.actor(broker=broker, store_results=True)
    def double(x):
        return 2 * x

    @dramatiq.actor(broker=broker)
    def finish():
        finished.set()

    with working(broker):
        doubled = group([double.message(number) for number in range(5)], broker=broker)
        doubled.add_completion_callback(finish.message())
        doubled.run()
        assert list(doubled.get_results(block=True, timeout=10000)) == [0, 2, 4, 6, 8]
        assert finished.wait(10)


def test_middleware_sees_what_is_sent_and_settled(kit: Kit):
    seen: list[str] = []

    class Watch(dramatiq.Middleware):
        def before_enqueue(self, broker, message, delay):
            message.options["stamp"] = "set before it was encoded"
            seen.append("before_enqueue")

        def after_enqueue(self, broker, message, delay):
            seen.append("after_enqueue")

        def before_ack(self, broker, message):
            seen.append("before_ack")

        def after_ack(self, broker, message):
            seen.append("after_ack")

    broker = kit.open(extra=[Watch()])
    stamps: list[Any] = []

    @dramatiq.actor(broker=broker)
    def work():
        message = dramatiq.middleware.CurrentMessage.get_current_message()
        stamps.append(message.options["stamp"] if message else None)

    broker.add_middleware(dramatiq.middleware.CurrentMessage())
    work.send()
    with working(broker):
        eventually(lambda: "after_ack" in seen)

    assert seen == ["before_enqueue", "after_enqueue", "before_ack", "after_ack"]
    assert stamps == ["set before it was encoded"]


def test_flushing_drops_what_waits(kit: Kit):
    broker = kit.open()
    ran: list[str] = []

    @dramatiq.actor(broker=broker)
    def work(name):
        ran.append(name)

    work.send("dropped")
    broker.flush("default")
    work.send("dropped, too")
    broker.flush_all()
    work.send("kept")
    with working(broker):
        broker.join("default", timeout=10000)
    assert ran == ["kept"]


@needs("age")
def test_what_is_held_does_not_wait(kit: Kit):
    # Given a message that somebody works on, and nothing else
    broker = kit.open()
    actors = kit.actors(broker)
    assert broker.oldest_message_age_seconds("default") is None
    actors["record"].send("held")
    assert broker.oldest_message_age_seconds("default") is not None
    consumer = broker.consume(queue_name="default", prefetch=1, timeout=100)
    held = receive(consumer)
    # Then nothing waits, however long it takes
    assert broker.oldest_message_age_seconds("default") is None
    # When another message comes, which nobody takes
    actors["record"].send("waits")
    eventually(lambda: broker.oldest_message_age_seconds("default") is not None)
    # Then that one waits, in its queue and in no other
    broker.declare_queue("other")
    assert broker.oldest_message_age_seconds("other") is None
    assert 0 <= broker.oldest_message_age_seconds("default") <= broker.oldest_message_age_seconds() < 60
    consumer.ack(held)
    consumer.close()
