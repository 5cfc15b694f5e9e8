"""Service Bus going wrong: whatever happens, the worker carries on and no message is lost."""

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import dramatiq
import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError
from dramatiq.middleware import AsyncIO

from brokers import (
    servicebus_consumer,
    servicebus_engine,
    servicebus_wire_management,
    servicebus_wire_receiver,
)
from brokers.servicebus_delivery import MessageLockLost, State
from brokers.servicebus_faults import kind_of
from brokers.servicebus_wire import ANSWER_SECONDS, OPEN_SECONDS, SILENCE_SECONDS
from ops.emulators.servicebus import Fault
from ops.emulators.servicebus.faults import POSSIBLE
from tests.contract.broker_kits import ServiceBusKit, eventually, receive, together, working


@pytest.fixture
def kit(tmp_path):
    kit = ServiceBusKit(tmp_path)
    yield kit
    kit.close()


def strike(kit: ServiceBusKit, fault: Fault) -> None:
    kit.emulator.call(lambda server: server.faults.add(fault))


def struck(kit: ServiceBusKit) -> int:
    return sum(kit.emulator.call(lambda server: dict(server.faults.struck)).values())


FAULTS = [
    *(Fault(kind, "attach", count=2) for kind in ("forced-close", "drop", "server-busy")),
    *(Fault(kind, "send", count=3, skip=2) for kind in ("forced-close", "drop", "detach", "server-busy")),
    *(Fault(kind, "send", skip=2, moment="after") for kind in ("forced-close", "drop", "detach")),
    *(Fault(kind, "deliver", count=3, skip=2) for kind in ("forced-close", "drop", "detach")),
    *(Fault(kind, "deliver", skip=2, moment="after") for kind in ("forced-close", "drop", "detach")),
    *(Fault("not-found", operation, count=2) for operation in ("attach", "send")),
    Fault("unauthorized", "attach", count=2),
    Fault("not-allowed", "send", count=2),
    *(Fault(kind, "settle", count=3, skip=2) for kind in ("forced-close", "drop", "detach")),
    *(Fault(kind, "settle", skip=2, moment="after") for kind in ("forced-close", "drop", "detach")),
    *(Fault(kind, "settle", count=2, skip=2) for kind in ("server-busy", "lock-lost")),
]


#: What strikes a request about locks (`test_a_renewal_that_fails_loses_nothing`).
OF_RENEWALS = sorted(kind for kind, operations in POSSIBLE.items() if "manage" in operations)


def test_every_fault_that_the_emulator_can_inject_is_recovered_from():
    tried = {(fault.kind, fault.operation) for fault in FAULTS} | {(kind, "manage") for kind in OF_RENEWALS}
    # but for the list of the queues, which no broker asks for
    possible = {(kind, each) for kind, operations in POSSIBLE.items() for each in operations - {"administer"}}
    assert tried == possible


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.kind}-{f.moment}-{f.operation}")
def test_every_message_runs_whatever_fails(kit: ServiceBusKit, fault: Fault, caplog):
    # Given a worker, and a fault that strikes soon
    broker = kit.open(lease_seconds=1)
    ran: list[int] = []
    refused: list[Exception] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        ran.append(number)

    with working(broker) as worker:
        work.send(-1)
        eventually(lambda: ran == [-1])
        strike(kit, fault)
        if fault.operation == "attach":  # only a link that ends is attached again
            kit.emulator.call(lambda server: server.container.close_all())

        # When messages are sent from several threads, and again what could not be sent
        def send(number: int) -> None:
            while True:
                try:
                    work.send(number)
                except BrokerConnectionError as error:
                    refused.append(error)
                else:
                    return

        together(*[lambda first=first: [send(first + n) for n in range(10)] for first in (0, 10, 20, 30)])

        # Then every one of them runs, the queue empties, and nothing is given up
        eventually(lambda: set(ran) >= set(range(40)))
        kit.emulator.call(lambda server: server.faults.remove())
        broker.join("default", timeout=10000)
        assert kit.dead(broker) == []
        # And no thread of the worker has died of it
        assert all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])
    assert struck(kit) >= 1
    # And only what waiting does not mend was told to a sender
    assert not refused or fault.kind in {"not-found", "not-allowed", "unauthorized"}
    # And it was logged by its name, with which it is counted
    assert any(word in caplog.text for word in LOGGED[fault.kind])


@pytest.mark.parametrize("kind", OF_RENEWALS)
def test_a_renewal_that_fails_loses_nothing(kit: ServiceBusKit, kind: str, caplog):
    # Given an actor that works until the renewal of its lock has failed
    broker = kit.open(lease_seconds=3)
    ran: list[int] = []

    def is_known() -> bool:
        """Tell whether the failure has come to the broker; the emulator knows of it a moment before."""
        return any(f"renew: {word}" in caplog.text for word in LOGGED[kind])

    @dramatiq.actor(broker=broker)
    def work():
        eventually(is_known)
        ran.append(1)

    strike(kit, Fault(kind, "manage"))
    with working(broker):
        work.send()
        # Then it runs to its end, then or again, and is settled
        eventually(lambda: ran)
        broker.join("default", timeout=10000)
    assert kit.dead(broker) == []
    assert struck(kit) >= 1


#: Under which names a fault may be logged; where a link ends in the middle, it depends on who notices first.
LOGGED = {
    "server-busy": ["busy"],
    "forced-close": ["connection_forced", "connection_lost", "unreachable"],
    "drop": ["connection_lost", "unreachable"],
    "detach": ["link_detached", "connection_lost", "unreachable"],
    "lock-lost": ["lock_lost", "was settled after its lock was lost"],
    "not-found": ["queue_missing"],
    "not-allowed": ["not_allowed"],
    "unauthorized": ["unauthorized"],
}


@pytest.mark.parametrize("refusals", [1, 2])
def test_a_batch_that_is_refused_is_sent_one_by_one_and_only_the_culprit_fails(kit, refusals: int):
    # Given a queue that refuses a batch, then so many of what was in it
    broker = kit.open(send_timeout_seconds=20.0)
    broker.declare_queue("default")
    failed: list[str] = []

    def send(number):
        try:
            broker.enqueue(Message("default", "any", (number,), {}, {}))
        except BrokerConnectionError as error:
            failed.append(str(error))

    # When several are sent together
    kit.emulator.accept_connections(accepting=False)
    senders = [threading.Thread(target=send, args=(number,)) for number in range(5)]
    for sender in senders:
        sender.start()
    outbox = broker._started().loop.run(parts(broker)).outbox
    eventually(lambda: len(outbox._waiting) == 5)
    strike(kit, Fault("not-allowed", "send", count=refusals))
    kit.emulator.accept_connections(accepting=True)
    for sender in senders:
        sender.join(10)

    # Then all others have been sent, and the sender of the culprit knows what to look at
    assert len(failed) == refusals - 1
    assert all("not_allowed" in text and "must not require sessions" in text for text in failed)
    assert broker.qsize("default") == 5 - len(failed)


async def parts(broker):
    return broker._started().queue("default")


def test_a_worker_finds_back_when_service_bus_was_away(caplog, kit: ServiceBusKit):
    broker = kit.open(send_timeout_seconds=20.0)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        ran.append(number)

    with working(broker):
        work.send(0)
        eventually(lambda: ran == [0])
        # Given a namespace that refuses connections, and a sender that waits
        with kit.unreachable():
            sender = threading.Thread(target=work.send, args=(1,))
            sender.start()
            eventually(lambda: "send: connection_lost: Failed to initiate the connection" in caplog.text)
            eventually(lambda: "receive: connection_lost: Failed to initiate the connection" in caplog.text)
        # When it is back, then the sender is answered and the worker works
        sender.join(10)
        assert not sender.is_alive()
        eventually(lambda: ran == [0, 1])


#: Shorter than what the broker waits for in vain: an answer, the opening of a link, a silent connection.
AT_ONCE_SECONDS = 10.0


@pytest.mark.parametrize("limit", ["link_idle_seconds", "connection_idle_seconds"])
def test_after_an_idle_disconnect_the_next_message_runs_at_once(kit: ServiceBusKit, limit: str):
    # Given a consumer that is going to be disconnected for being idle, once
    assert min(ANSWER_SECONDS, OPEN_SECONDS, SILENCE_SECONDS) > AT_ONCE_SECONDS
    limits = kit.emulator.call(lambda server: server.container.limits)
    lasting = getattr(limits, limit)
    kit.emulator.call(lambda _: setattr(limits, limit, 0.3))
    broker = kit.open()
    broker.declare_queue("default")
    consumer = broker.consume("default", prefetch=1, timeout=int(AT_ONCE_SECONDS * 1000))
    broker.enqueue(Message("default", "any", (1,), {}, {}))
    consumer.ack(receive(consumer))
    kit.emulator.call(lambda _: setattr(limits, limit, lasting))
    before = operations(kit)
    eventually(lambda: operations(kit)["attach"] > before["attach"], AT_ONCE_SECONDS)

    # When the next message comes
    sender = threading.Thread(target=broker.enqueue, args=(Message("default", "any", (2,), {}, {}),))
    sender.start()

    # Then the consumer has it before anything was waited for in vain, and nothing was tried twice
    message = next(consumer)
    assert message is not None
    assert message.args == (2,)
    consumer.ack(message)
    sender.join()
    consumer.flush()
    consumer.close()
    since = operations(kit) - before
    assert (since["send"], since["deliver"]) == (1, 1)


def operations(kit: ServiceBusKit) -> Counter[str]:
    return kit.emulator.call(lambda server: Counter(server.faults.operations))


def lose_locks(kit: ServiceBusKit) -> None:
    kit.emulator.call(lambda server: server.container.namespace.source("default").lose_locks())


def test_a_lost_lock_interrupts_the_actor_and_its_message_runs_again(kit: ServiceBusKit):
    # Given an actor that works longer than its lock lasts
    broker = kit.open(lease_seconds=0.6)
    ends: list[str] = []
    started = threading.Event()

    @dramatiq.actor(broker=broker)
    def work():
        if started.is_set():
            ends.append("again")
            return
        started.set()
        try:
            while True:
                time.sleep(0.01)
        except MessageLockLost:
            ends.append("interrupted")
            raise

    with working(broker):
        work.send()
        assert started.wait(10)
        # When its lock is lost
        lose_locks(kit)
        # Then it is interrupted, and the message, which nobody has settled, runs again, once
        eventually(lambda: sorted(ends) == ["again", "interrupted"])
        broker.join("default", timeout=10000)
        assert len(ends) == 2
        assert kit.dead(broker) == []


def test_what_lost_its_lock_before_it_ran_does_not_run(kit: ServiceBusKit):
    # Given a worker with a message that waits behind the one that runs
    broker = kit.open()
    ran: list[int] = []
    go_on = threading.Event()

    @dramatiq.actor(broker=broker)
    def work(number):
        ran.append(number)
        assert go_on.wait(10)

    for number in range(2):
        work.send(number)
    with working(broker, threads=1):
        eventually(lambda: ran and len(broker._sending._held) == 2)
        [held] = [
            delivery.held for delivery in list(broker._sending._held.values()) if delivery.args[0] not in ran
        ]
        # When it is known that its lock is lost
        held.lose()
        go_on.set()
        # Then it does not run here
        eventually(lambda: held.state is State.SETTLED)
        assert len(ran) == 1
        # But when the queue hands it out again
        lose_locks(kit)
        broker.join("default", timeout=10000)
    assert sorted(ran) == [0, 1]


def test_a_consumer_hands_out_nothing_whose_lock_it_knows_to_be_lost(kit: ServiceBusKit):
    # Given a message that waits in its consumer
    broker = kit.open()
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    consumer = broker.consume("default", prefetch=1, timeout=100)
    eventually(lambda: consumer._ready.qsize() == 1)
    # When its lock is lost, and known to be
    held = consumer._ready.get()
    held.lose()
    consumer._ready.put(held)
    lose_locks(kit)
    # Then it is not handed out, and its place is taken by its next delivery
    again = receive(consumer)
    assert again.held is not held
    consumer.ack(again)
    consumer.close()


def test_a_lost_lock_cancels_an_asynchronous_actor(kit: ServiceBusKit):
    broker = kit.open(extra=[AsyncIO()], lease_seconds=0.6)
    ends: list[str] = []
    started = threading.Event()

    @dramatiq.actor(broker=broker)
    async def work():
        if started.is_set():
            ends.append("again")
            return
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with working(broker):
        work.send()
        assert started.wait(10)
        lose_locks(kit)
        eventually(lambda: sorted(ends) == ["again", "cancelled"])
        broker.join("default", timeout=10000)


def test_locks_are_renewed_from_receipt_on(kit: ServiceBusKit):
    # Given locks that last shorter than one message, and messages that wait behind it in the worker
    broker = kit.open(lease_seconds=0.5)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        time.sleep(0.8)
        ran.append(number)

    for number in range(3):
        work.send(number)
    with working(broker, threads=1):
        broker.join("default", timeout=15000)

    # Then each ran once, although all of them were held for longer than a lock lasts
    assert sorted(ran) == [0, 1, 2]


def test_renewals_outlive_their_consumer(kit: ServiceBusKit):
    # Given a message that is held for longer than its lock lasts, from a consumer that is closed: a worker
    # that pauses closes its consumers, and one whose consumer failed replaces it
    broker = kit.open(lease_seconds=2.0)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    consumer = broker.consume("default", prefetch=1, timeout=100)
    held = receive(consumer)
    consumer.close()
    before = operations(kit)["manage"]
    eventually(lambda: operations(kit)["manage"] >= before + 2)
    # Then nobody else gets it
    other = broker.consume("default", prefetch=1, timeout=100)
    assert next(other) is None
    # And it is settled
    consumer.ack(held)
    broker.join("default", timeout=10000)
    other.close()


def test_renewals_outlive_their_link(kit: ServiceBusKit):
    broker = kit.open(lease_seconds=2.0)
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work():
        time.sleep(3.5)
        ran.append(1)

    with working(broker):
        work.send()
        # When the renewals fail now and then, and all links end in the middle
        strike(kit, Fault("drop", "manage", count=2, moment="after"))
        strike(kit, Fault("server-busy", "manage"))
        eventually(lambda: struck(kit) == 3)
        kit.emulator.call(lambda server: server.container.close_all())
        broker.join("default", timeout=15000)
    # Then the message is settled all the same, without its link, and ran once
    assert ran == [1]


class Clock:
    """A clock that is wrong, in the place of the module `time`."""

    monotonic = staticmethod(time.monotonic)

    def __init__(self, wrong_by_seconds: float) -> None:
        self.wrong_by_seconds = wrong_by_seconds

    def time(self) -> float:
        return time.time() + self.wrong_by_seconds


def test_a_clock_that_is_wrong_is_named_and_asks_no_more_often(kit: ServiceBusKit, monkeypatch, caplog):
    # Given a machine whose clock is further ahead than locks last
    monkeypatch.setattr(servicebus_wire_receiver, "time", Clock(40.0))
    monkeypatch.setattr(servicebus_wire_management, "time", Clock(40.0))
    broker = kit.open(lease_seconds=30, shortest_lock_seconds=2.4)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    consumer = broker.consume("default", prefetch=1, timeout=100)
    # When a message is held for longer than the shortest lock could last
    taken = receive(consumer)
    begun, before = time.monotonic(), operations(kit)["manage"]
    eventually(lambda: operations(kit)["manage"] >= before + 3)
    # Then its lock is renewed no more often than that asks for
    assert time.monotonic() - begun >= 2 * 1.2
    # And its retry is sent
    broker.enqueue(taken)
    assert taken.held.state is State.MOVED
    consumer.ack(taken)
    assert broker.qsize("default") == 1
    consumer.close()
    # And people learn why once, not each time
    assert caplog.text.count("The clock of this machine is wrong") == 1


def test_a_clock_that_is_behind_is_named(kit: ServiceBusKit, monkeypatch, caplog):
    monkeypatch.setattr(servicebus_wire_receiver, "time", Clock(-600.0))
    broker = kit.open()
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    consumer = broker.consume("default", prefetch=1, timeout=100)
    held = receive(consumer)
    assert held.held.locked_until <= time.monotonic() + 300
    assert "The clock of this machine is wrong" in caplog.text
    consumer.ack(held)
    consumer.close()


@pytest.mark.parametrize("hangs", ["for ever", "for a while"])
def test_locks_are_renewed_over_another_link_when_theirs_hangs(kit: ServiceBusKit, hangs: str):
    # Given a message that is held, and a management link that has renewed it before
    broker = kit.open(lease_seconds=2.0)
    broker.declare_queue("default")
    broker.enqueue(dramatiq.Message("default", "any", (), {}, {}))
    consumer = broker.consume("default", prefetch=1, timeout=100)
    held = receive(consumer).held
    before = operations(kit)["manage"]
    eventually(lambda: operations(kit)["manage"] > before)
    renewed = held.locked_until
    # When the network hangs
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 3600.0))
    if hangs == "for ever":
        # Then the loss is known when the lock ends, long before an answer would be given up
        eventually(lambda: held.state is State.LOST, within=ANSWER_SECONDS / 2)
    else:
        # Then the next attempt goes over a new link, and the lock holds
        asked = operations(kit)["manage"]
        eventually(lambda: operations(kit)["manage"] > asked)
        kit.emulator.call(lambda server: setattr(server.latency, "outward", 0.0))
        eventually(lambda: held.locked_until > renewed + 1.5)
        assert held.state is State.HELD
    kit.emulator.call(lambda server: server.container.close_all())
    consumer.close()


def test_a_network_that_hangs_does_not_keep_a_process_from_ending(kit: ServiceBusKit, monkeypatch):
    monkeypatch.setattr(servicebus_consumer, "CLOSE_SECONDS", 0.3)
    monkeypatch.setattr(servicebus_engine, "CLOSE_SECONDS", 0.3)
    # Given two consumers with settlements that nobody confirms
    broker = kit.open()
    consumers: list[Any] = []
    for name in ("default", "other"):
        broker.declare_queue(name)
        broker.enqueue(dramatiq.Message(name, "any", (), {}, {}))
        consumers.append(broker.consume(name, prefetch=1, timeout=100))
    held = [receive(consumer) for consumer in consumers]
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 3600.0))
    kit.emulator.call(lambda server: server.container.close_all())
    for consumer, message in zip(consumers, held, strict=True):
        consumer.ack(message)
    # And a question that nobody answers
    management = broker._engine.queue("default").management
    refused: list[BaseException] = []

    def ask():
        try:
            broker.qsize("default")
        except BaseException as error:
            refused.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(management._turn.locked)
    # When the broker is closed, then it ends: the links that hang are not waited for
    closing = threading.Thread(target=broker.close, daemon=True)
    closing.start()
    closing.join(12)
    assert not closing.is_alive()
    asking.join(10)
    assert len(refused) == 1


def hold(broker, count: int):
    """Let a consumer hold so many messages."""
    broker.declare_queue("default")
    broker.enqueue_many([(Message("default", "any", (number,), {}, {}), None) for number in range(count)])
    consumer = broker.consume("default", prefetch=count, timeout=1000)
    return consumer, [receive(consumer) for _ in range(count)]


def test_all_who_ask_a_queue_that_is_busy_share_its_answer(kit: ServiceBusKit):
    broker = kit.open()
    management = broker._started().loop.run(parts(broker)).management
    strike(kit, Fault("server-busy", "attach", count=None))

    async def ask_all():
        asked = [management.ask(lambda link: link.peek(1, 1)) for _ in range(50)]
        return await asyncio.gather(*asked, return_exceptions=True)

    # When many ask while it is busy, then it is asked once, and left alone for a while
    answers = broker._started().loop.run(ask_all())
    assert {kind_of(answer) for answer in answers} == {"busy"}
    assert struck(kit) == 1

    # And when it is not busy any more, then it answers
    kit.emulator.call(lambda server: server.faults.remove())
    eventually(lambda: broker._started().loop.run(ask_all()) == [[]] * 50)


def test_an_outage_is_logged_once_however_many_settlements_wait(kit: ServiceBusKit, caplog):
    # Given held messages, and a queue that lets nobody attach
    broker = kit.open()
    consumer, held = hold(broker, 30)
    strike(kit, Fault("server-busy", "attach", count=None))
    kit.emulator.call(lambda server: server.container.close_all())
    eventually(lambda: "receive: busy" in caplog.text)

    # When all are settled
    for message in held:
        consumer.ack(message)
    management = broker._started().loop.run(parts(broker)).management
    eventually(lambda: management._backoff._failures >= 2)
    kit.emulator.call(lambda server: server.faults.remove())

    # Then they are once that is over, and the log tells of it once
    consumer.flush()
    assert broker.qsize("default") == 0
    assert caplog.text.count("settle: busy") == 1
    consumer.close()


def test_a_lost_lock_among_many_is_found_with_few_requests(kit: ServiceBusKit):
    # Given many held messages, one of which is lost
    broker = kit.open()
    consumer, held = hold(broker, 64)
    lost = held[41].held
    kit.emulator.call(
        lambda server: server.container.namespace.source("default").lose_lock(lost.received.tag)
    )
    before = operations(kit)["manage"]

    # When all are renewed together
    async def renew():
        await broker._started().queue("default").locks._renew([message.held for message in held])

    broker._started().loop.run(renew())

    # Then it alone is known to be lost
    assert [message.held for message in held if message.held.state is State.LOST] == [lost]
    assert operations(kit)["manage"] - before <= 1 + 2 * 6
    consumer.close()
