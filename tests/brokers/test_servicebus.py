"""What is particular to the broker on Service Bus."""

import asyncio
import gc
import os
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter

import dramatiq
import pytest
from azure.core.credentials import AccessToken
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import ServiceBusServerBusyError
from dramatiq import Message
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from brokers import BrokerQueue, open_broker, servicebus_asking, servicebus_browser, servicebus_locks
from brokers.messages import NotEnqueued
from brokers.servicebus import ServiceBusBroker
from brokers.servicebus_browser import MAX_PAGES, PAGE, number_of
from brokers.servicebus_faults import Backoff, MessageTooLarge, QueueMissing
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_wire_receiver import Received
from brokers.tracing import Tracing
from lightning.errors import Transient
from lightning.log import wakeup
from lightning.settings import Settings
from lightning.telemetry import names
from ops.emulators.servicebus import (
    Declarations,
    EntityProperties,
    Fault,
    Options,
    Policy,
    ServiceBusEmulator,
)
from tests.contract.broker_kits import ServiceBusKit, eventually, receive, together, working


@pytest.fixture
def kit(tmp_path):
    kit = ServiceBusKit(tmp_path)
    yield kit
    kit.close()


@pytest.fixture
def broker(kit):
    broker = kit.open()
    broker.declare_queue("default")
    return broker


def message(*args, queue_name="default", **options) -> Message:
    return Message(queue_name, "any", args, {}, options)


def operations(kit: ServiceBusKit) -> Counter[str]:
    return kit.emulator.call(lambda server: Counter(server.faults.operations))


def change(kit: ServiceBusKit, **properties) -> None:
    """Give the queue other properties."""

    def set_properties(server):
        server.container.namespace.source("default").properties = EntityProperties(**properties)

    kit.emulator.call(set_properties)


def test_sends_of_many_threads_are_coalesced_and_each_is_answered(kit, broker):
    # Given a service that is 10 ms away, and a link to it
    broker.enqueue(message("first"))
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 0.01))
    before = operations(kit)["send"]

    # When 16 threads send 20 messages each
    together(*[lambda t=t: [broker.enqueue(message(t, n)) for n in range(20)] for t in range(16)])

    # Then all of them are there when the last sender is answered, in far fewer sends
    assert broker.qsize("default") == 321
    assert operations(kit)["send"] - before < 160


def test_messages_of_one_call_are_one_batch(kit, broker):
    broker.enqueue(message("first"))
    before = operations(kit)["send"]
    broker.enqueue_many([(message(n), None if n % 2 else 60_000) for n in range(50)])
    assert operations(kit)["send"] - before == 1
    assert broker.qsize("default") == 51


def test_all_messages_are_counted_and_flushed_however_many_they_are(broker):
    # Given more messages than are looked at for the age of the oldest, one of them of a later time
    many = MAX_PAGES * PAGE
    broker.enqueue_many([(message(n), None) for n in range(many)])
    broker.enqueue(message("later"), delay=60_000)
    # Then all are counted
    assert broker.qsize("default") == many + 1
    # And all are dropped
    broker.flush("default")
    assert broker.qsize("default") == 0


def test_a_message_that_is_too_large_is_refused_and_names_the_limit(broker):
    # Given a sender of a message larger than the tier takes, among others
    refused: list[Exception] = []

    def send_large():
        try:
            broker.enqueue(message("x" * 300_000))
        except MessageTooLarge as error:
            refused.append(error)

    # When all send at once
    together(send_large, *[lambda n=n: broker.enqueue(message(n)) for n in range(5)])

    # Then it alone hears of it, and what the limit is
    [error] = refused
    assert "at most 261120 bytes" in str(error)
    assert broker.qsize("default") == 5


def test_many_large_messages_of_one_call_are_divided(kit, broker):
    broker.enqueue_many([(message("x" * 50_000), None) for _ in range(12)])
    assert broker.qsize("default") == 12
    assert operations(kit)["send"] >= 3


def test_a_missing_queue_says_what_to_do_and_is_waited_for():
    declared = Declarations(queues={"other": EntityProperties()}, is_strict=True)
    with ServiceBusEmulator(Options(declarations=declared)) as emulator:
        broker = ServiceBusBroker(emulator.connection_string, max_backoff_seconds=0.2)
        ran: list[int] = []

        @dramatiq.actor(broker=broker)
        def work(number):
            ran.append(number)

        # Given a worker on a queue that the namespace does not have
        with working(broker) as worker:
            # When a message is sent to it, then its sender learns at once what to do
            started = time.monotonic()
            with pytest.raises(QueueMissing, match="no queue 'default'; create it"):
                work.send(1)
            assert time.monotonic() - started < 5
            # And when the queue has been made, then the worker is there
            emulator.call(lambda server: server.container.namespace._add_queue("default", EntityProperties()))
            work.send(2)
            eventually(lambda: ran == [2])
            assert all(thread.is_alive() for thread in worker.consumers.values())
        broker.close()


def test_a_wrong_key_says_what_to_do():
    with ServiceBusEmulator(Options(policy=Policy(key="right"))) as emulator:
        wrong = emulator.connection_string.replace("right", "wrong")
        broker = ServiceBusBroker(wrong)
        broker.declare_queue("default")
        with pytest.raises(dramatiq.errors.BrokerConnectionError, match="check the key"):
            broker.enqueue(message())
        broker.close()


def test_duplicate_detection_drops_what_was_sent_twice_and_no_retry(kit, broker):
    # Given a queue that detects duplicates, and a broker that does not hear that its message arrived
    change(kit, duplicate_window=60)
    kit.emulator.call(lambda server: server.faults.add(Fault("drop", "send", moment="after")))

    # When it sends it again by itself, then the queue has it once
    once = message()
    broker.enqueue(once)
    assert broker.qsize("default") == 1

    # And when a program sends the same message on purpose, as a retry does, then it is taken
    broker.enqueue(once)
    broker.enqueue(once.copy(options={"retries": 1}))
    assert broker.qsize("default") == 3


def test_what_no_sender_of_ours_sent_is_a_dead_letter(kit, broker):
    # Given a message whose body is no bytes
    with (
        ServiceBusClient.from_connection_string(kit.emulator.connection_string) as client,
        client.get_queue_sender("default") as sender,
    ):
        sender.send_messages(AmqpAnnotatedMessage(value_body={"a": 1}))
        sender.send_messages(ServiceBusMessage(b""))
    # When a consumer meets it
    consumer = broker.consume("default", prefetch=2, timeout=100)
    eventually(lambda: next(consumer) is None and len(kit.dead(broker)) == 2)
    consumer.close()
    # Then it is given up
    assert {dead.reason for dead in kit.dead(broker)} == {"undecodable"}


def reject(broker, *messages: Message) -> None:
    for one in messages:
        broker.enqueue(one)
        consumer = broker.consume(one.queue_name, timeout=100)
        taken = receive(consumer)
        taken.fail()
        consumer.nack(taken)
        consumer.close()


def test_dead_letters_are_listed_replayed_and_discarded(broker):
    # Given dead letters of two queues, retried before
    broker.declare_queue("other")
    reject(
        broker, message(1, retries=3, traceback="Traceback: why"), message(2), message(3, queue_name="other")
    )

    # Then they are listed, with their reasons
    first, second, other = broker.dead_letters()
    assert (first.queue_name, first.reason, first.error) == ("default", "rejected", "Traceback: why")
    assert broker.dead_letters("other") == [other]
    assert broker.dead_letters(limit=1) == [first]

    # When one behind another is replayed, then it is a message again, without its retries
    assert broker.replay_dead_letter(second.id)
    assert not broker.replay_dead_letter(second.id)
    consumer = broker.consume("default", timeout=1000)
    again = receive(consumer)
    assert (again.args, again.options) == ((2,), {})
    consumer.ack(again)
    consumer.close()

    # And when the others are discarded, then nothing is left
    assert broker.discard_dead_letter(other.id)
    assert broker.discard_dead_letter(first.id)
    assert not broker.discard_dead_letter(first.id)
    assert not broker.discard_dead_letter("nothing")
    assert broker.dead_letters() == []
    assert broker.qsize("default") == 0


def test_a_replay_that_is_not_confirmed_in_time_keeps_the_dead_letter(kit):
    # Given a dead letter, and a queue that is too busy for longer than a sender waits
    patient = kit.open()
    patient.declare_queue("default")
    reject(patient, message(1))
    [dead] = patient.dead_letters()
    broker = kit.open(send_timeout_seconds=0.2, max_backoff_seconds=60.0)
    broker.declare_queue("default")
    kit.emulator.call(lambda server: server.faults.add(Fault("server-busy", "send", count=None)))

    # When it is replayed, then whoever wants that hears of it in time, and it is still there
    with pytest.raises(dramatiq.errors.BrokerConnectionError, match=r"did not confirm .* within 0.2 s"):
        broker.replay_dead_letter(dead.id)
    assert broker.dead_letters() == [dead]


def test_what_takes_too_long_is_told(monkeypatch, kit, broker):
    assert broker.qsize("default") == 0
    monkeypatch.setattr(servicebus_asking, "ASK_SECONDS", 0.2)
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 3600.0))
    with pytest.raises(dramatiq.errors.BrokerConnectionError, match=r"'default' did not answer within 0.2 s"):
        broker.qsize("default")


def test_dead_letters_before_the_one_that_is_taken_are_held_without_their_bodies(broker):
    # Given dead letters
    broker.enqueue_many([(message(number), None) for number in range(10)])
    consumer = broker.consume("default", prefetch=10, timeout=1000)
    for _ in range(10):
        taken = receive(consumer)
        taken.fail()
        consumer.nack(taken)
    consumer.close()
    last = broker.dead_letters()[-1]

    # When the last is taken
    async def take() -> list[bytes]:
        async with engine.queue("default").browser.take(number_of(last.id)[1]) as taken:
            received = [each for each in gc.get_objects() if type(each) is Received]
            return [each.body for each in received if each.link is taken.link and each.body]

    engine = broker._started()
    before = broker.dead_letters()[:-1]
    assert engine.loop.run(take()) == [last.body]

    # Then the others are dead letters as before
    assert [dead.body for dead in broker.dead_letters()] == [dead.body for dead in before]
    assert len(before) == 9


def test_the_description_of_a_dead_letter_is_bounded(kit, broker):
    reject(broker, message(traceback="x" * 9000 + "the cause"))
    [dead] = kit.dead(broker)
    assert len(dead.error) == 4000
    assert dead.error.endswith("the cause")


def test_the_age_of_the_oldest_message_is_known(monkeypatch, broker):
    monkeypatch.setattr(servicebus_browser, "AGE_SECONDS", 0.0)
    assert broker.oldest_message_age_seconds() is None
    broker.enqueue(message(), delay=60_000)
    assert broker.oldest_message_age_seconds() is None
    broker.enqueue(message())
    age = broker.oldest_message_age_seconds("default")
    assert age is not None
    assert 0.0 <= age < 30


def test_the_age_of_the_oldest_message_costs_one_look_whoever_asks(monkeypatch, kit, broker):
    # Given more messages than one look shows
    monkeypatch.setattr(servicebus_browser, "PAGE", 5)
    monkeypatch.setattr(servicebus_browser, "AGE_SECONDS", 60.0)
    broker.enqueue_many([(message(n), None) for n in range(20)])
    before = operations(kit)["manage"]
    # When several ask for the age of the oldest
    ages: list[float | None] = []
    together(*[lambda: ages.append(broker.oldest_message_age_seconds("default")) for _ in range(8)])
    # Then one look answers all of them
    assert None not in ages
    assert operations(kit)["manage"] - before == 1


async def test_a_health_check_costs_one_look_and_waits_for_no_other(kit):
    broker = kit.open()
    queue = BrokerQueue(broker, "default")
    broker.enqueue_many([(message(n), None) for n in range(20)])
    before = operations(kit)["manage"]
    await asyncio.gather(*[queue.check() for _ in range(8)])
    assert operations(kit)["manage"] - before == 1
    refuse = Fault("not-found", "manage", entity="default", count=None)
    kit.emulator.call(lambda server: server.faults.add(refuse))
    with pytest.raises(Transient, match="no queue 'default'"):
        await queue.check()
    await queue.close()


def test_a_question_that_nobody_answers_is_given_up(monkeypatch, kit, broker):
    monkeypatch.setattr(servicebus_asking, "ASK_SECONDS", 0.3)
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 3600.0))
    with pytest.raises(dramatiq.errors.BrokerConnectionError, match="did not answer within"):
        broker.qsize("default")


def test_a_closing_consumer_gives_back_without_counting_a_delivery(kit, broker):
    change(kit, max_delivery_count=1)
    broker.enqueue_many([(message(n), None) for n in range(4)])
    for _ in range(3):
        # When a consumer closes that was sent messages ahead of its workers
        consumer = broker.consume("default", prefetch=4, timeout=1000)
        held = receive(consumer)
        consumer.requeue([held])
        consumer.close()
    # Then they are there for the next one, and none was delivered too often
    consumer = broker.consume("default", prefetch=4, timeout=1000)
    assert sorted(receive(consumer).args[0] for _ in range(4)) == [0, 1, 2, 3]
    consumer.close()
    assert kit.dead(broker) == []


def test_a_message_that_nobody_can_settle_any_more_frees_its_place(broker):
    # Given a consumer that may hold one message, which a thread that has died has taken along
    broker.enqueue_many([(message(n), None) for n in range(2)])
    consumer = broker.consume("default", prefetch=1, timeout=100)
    together(lambda: receive(consumer))
    # Then the consumer receives the next
    following = receive(consumer)
    assert following.args == (1,)
    consumer.ack(following)
    consumer.close()


def test_a_paused_worker_takes_nothing_and_goes_on_after(kit):
    broker = kit.open()
    ran: list[int] = []

    @dramatiq.actor(broker=broker)
    def work(number):
        ran.append(number)

    with working(broker) as worker:
        worker.pause()
        work.send(1)
        assert broker.qsize("default") == 1
        assert ran == []
        worker.resume()
        eventually(lambda: ran == [1])


def test_management_links_are_replaced_before_the_sdk_runs_out_of_credit(monkeypatch, kit, broker):
    monkeypatch.setattr(servicebus_locks, "MAX_MANAGEMENT_ANSWERS", 3)
    before = operations(kit)["attach"]
    for _ in range(10):
        broker.qsize("default")
    assert operations(kit)["attach"] - before >= 3 * 2


def test_a_forked_process_has_connections_of_its_own(kit, broker):
    # Given a broker that is in use
    broker.enqueue(message("parent"))
    # When the process is forked and the child sends
    child = os.fork()
    if child == 0:
        status = 1
        try:
            broker.enqueue(message("child"))
            broker.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    # Then both messages are there, and the parent's connection still works
    broker.enqueue(message("parent again"))
    assert broker.qsize("default") == 3


def test_threads_and_sockets_end_with_the_broker(kit, broker):
    broker.enqueue(message())
    consumer = broker.consume("default", timeout=1000)
    consumer.ack(receive(consumer))
    broker.close()
    assert "servicebus" not in {thread.name for thread in threading.enumerate()}
    eventually(lambda: not kit.emulator.call(lambda server: server.container.clients))
    # And it can be used again
    broker.enqueue(message())
    assert broker.qsize("default") == 1


async def test_the_queue_port_sends_wakeups_over_it(kit):
    broker = kit.open()
    queue = BrokerQueue(broker, "lightning")
    event = {
        "id": "e", "userID": "anna", "wake": 1, "type": "llm.chat", "dueAt": None, "trace": {},
    }  # fmt: skip
    await queue.send([wakeup(event)])
    await queue.send([wakeup({**event, "id": "f", "type": "worker.task"})])
    assert broker.qsize("lightning") == 1
    assert await queue.depth() == 2
    assert await queue.oldest_age_seconds() is not None
    await queue.close()


def refuse_sends(kit: ServiceBusKit, queue_name: str) -> None:
    fault = Fault("not-found", "send", entity=queue_name, count=None)
    kit.emulator.call(lambda server: server.faults.add(fault))


def test_of_several_messages_those_that_could_not_be_sent_are_named(kit, broker):
    # Given two queues, one of which takes nothing
    broker.declare_queue("refused")
    refuse_sends(kit, "refused")
    noted: list[str] = []

    class Note(dramatiq.Middleware):
        def after_enqueue(self, broker, message, delay):
            noted.append(message.queue_name)

    broker.add_middleware(Note())
    # When messages are sent to both in one call
    with pytest.raises(NotEnqueued, match="no queue 'refused'") as raised:
        broker.enqueue_many(
            [
                (message(1), None),
                (message(2, queue_name="refused"), None),
                (message(3), None),
                (message(4, queue_name="refused"), 1000),
            ]
        )
    # Then the error names those of the one, and those of the other are sent
    assert sorted(raised.value.failed) == [1, 3]
    assert noted == ["default", "default"]
    assert broker.qsize("default") == 2


async def test_a_queue_that_cannot_be_sent_to_holds_up_no_other(kit):
    # Given a queue that is always busy, and senders that wait for it
    broker = kit.open(send_timeout_seconds=3.0)
    queue = BrokerQueue(broker, "lightning")
    fault = Fault("server-busy", "send", entity="lightning-webhook", count=None)
    kit.emulator.call(lambda server: server.faults.add(fault))
    chat, webhook = (
        wakeup({"id": "e", "userID": "anna", "wake": 1, "type": kind, "dueAt": None, "trace": {}})
        for kind in ("llm.chat", "webhook.delivery")
    )
    stuck = asyncio.create_task(queue.send([webhook, chat]))
    await asyncio.to_thread(eventually, lambda: kit.emulator.call(lambda server: dict(server.faults.struck)))
    # When others send to another one, then they are answered meanwhile
    await queue.send([chat])
    assert not stuck.done()
    # And who waits learns of it in the end
    with pytest.raises(Transient, match="did not confirm"):
        await stuck
    assert broker.qsize("lightning") == 2
    await queue.close()


async def test_an_identity_gives_tokens():
    class Credential:
        def get_token(self, *scopes, **_options):
            assert scopes == ("https://servicebus.azure.net/.default",)
            return AccessToken("token", int(time.time()) + 3600)

    namespace = Namespace(None, "name.servicebus.windows.net", credential=Credential())
    assert (namespace.host, namespace.port) == ("name.servicebus.windows.net", 5671)
    client = namespace._sdk()
    token = await client._credential.get_token("https://servicebus.azure.net/.default")
    assert token.token == "token"


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"connection_string": "Endpoint=sb://x", "namespace": "x"},
        {"namespace": "x"},  # and nobody who asks
        {"connection_string": "no endpoint"},
        {"connection_string": "Endpoint=sb://x;EntityPath=queue"},
    ],
)
def test_what_cannot_be_a_namespace_is_refused_at_once(options):
    with pytest.raises(ValueError, match="connection"):
        ServiceBusBroker(**options)


def test_the_settings_open_it_and_its_spans_name_the_namespace(kit):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings = Settings.load(
        {"LIGHTNING_BROKER": "servicebus", "SERVICEBUS_CONNECTION": kit.emulator.connection_string}
    )
    broker = open_broker(settings)
    assert isinstance(broker, ServiceBusBroker)
    [tracing] = [each for each in broker.middleware if isinstance(each, Tracing)]
    tracing._tracer = provider.get_tracer(__name__)
    broker.declare_queue("default")
    broker.enqueue(message())
    broker.close()
    [span] = exporter.get_finished_spans()
    assert span.attributes[names.SERVER_ADDRESS] == "127.0.0.1"
    assert span.attributes[names.SERVER_PORT] == kit.port
    assert span.attributes[names.AZ_NAMESPACE] == "Microsoft.ServiceBus"
    assert span.attributes[names.MESSAGING_SYSTEM] == "servicebus"


COUNTING = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
from brokers.servicebus_faults import LockLost, report

report(LockLost("gone"), "default", "renew")
[metric] = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
print(metric.name, metric.data.data_points[0].value, dict(metric.data.data_points[0].attributes))
"""


def test_faults_are_counted():
    ran = subprocess.run([sys.executable, "-c", COUNTING], capture_output=True, text=True, check=True)
    counted = "{'queue': 'default', 'fault': 'lock_lost', 'operation': 'renew'}"
    assert ran.stdout == f"lightning.servicebus.faults 1 {counted}\n"


def test_backoff_begins_at_once_and_has_a_ceiling():
    backoff = Backoff(2.0)
    waits = [backoff.after(OSError()) for _ in range(50)]
    assert waits[0] == 0.0
    assert max(waits) <= 2.0
    assert max(waits[:4]) <= 0.8
    assert len(set(waits)) > 40


@pytest.mark.parametrize(("most_seconds", "waits"), [(60.0, 10.0), (10.0, 10.0), (2.0, 2.0)])
def test_a_busy_service_is_left_alone_as_microsoft_advises(most_seconds, waits):
    busy = ServiceBusServerBusyError(message="busy", condition=b"com.microsoft:server-busy")
    assert Backoff(most_seconds).after(busy) == waits


def test_all_connections_share_the_authorities_that_are_trusted(kit, monkeypatch):
    # Given a look at how often a file of authorities is read
    read: list[str] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context, *paths, **named):
        read.append("a file")
        return load(context, *paths, **named)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    # When brokers connect to send and to receive
    for text in ("a", "b"):
        broker = kit.open()
        broker.declare_queue("default")
        broker.enqueue(message(text))
        consumer = broker.consume("default", timeout=100)
        received = receive(consumer)
        assert received.args == (text,)
        consumer.ack(received)
        consumer.close()
    # Then it was read once at most: a process that was there before may have done so
    assert len(read) <= 1
