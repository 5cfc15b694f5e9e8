"""The links to Service Bus: tokens that are renewed, a peer that hangs, credit that runs out."""

import threading
import time
from contextlib import contextmanager

import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from brokers import servicebus_wire
from brokers.servicebus_outbox import MAX_IN_FLIGHT
from brokers.servicebus_wire_sender import SenderLink
from ops.emulators.servicebus import EntityProperties
from ops.emulators.servicebus.wire import incoming
from tests.contract.broker_kits import ServiceBusKit, eventually, receive, together


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


def message(*args, **options) -> Message:
    return Message("default", "any", args, {}, options)


def change(kit: ServiceBusKit, **properties) -> None:
    """Give the queue other properties."""

    def set_properties(server):
        server.container.namespace.source("default").properties = EntityProperties(**properties)

    kit.emulator.call(set_properties)


def on_loop(broker, act):
    """Do something on the loop of the broker, and give its result."""

    async def do():
        return act()

    return broker._started().loop.run(do())


def claims(link):
    return link._handler._cbs_authenticator


def make_token_due(link) -> None:
    claims(link)._refresh_window = 10**9


def test_a_token_that_is_renewed_disturbs_no_message_under_way(monkeypatch, broker):
    # Given links whose tokens are looked after all the time, and many large messages
    monkeypatch.setattr(servicebus_wire, "_LOOK_AT_TOKEN_SECONDS", 0.005)
    body = "abcdefghij" * 15_000
    for number in range(60):
        broker.enqueue(message(number, body))

    # When the receiver's token is renewed again and again while they come
    consumer = broker.consume("default", prefetch=30, timeout=2000)
    links, seen = set(), []
    while len(seen) < 60:
        received = next(consumer)
        assert received is not None, "a message did not come"
        links.add(received.held.received.link)
        on_loop(broker, lambda link=received.held.received.link: make_token_due(link))
        assert received.args[1] == body
        seen.append(received.args[0])
        consumer.ack(received)
    consumer.close()

    # Then each came as it was, once, over the same link
    assert sorted(seen) == list(range(60))
    assert len(links) == 1
    assert broker.qsize("default") == 0
    assert broker.dead_letters() == []


def test_a_token_that_cannot_be_fetched_ends_no_link_whose_token_is_good(monkeypatch, caplog, broker):
    # Given a link whose token is due, and an identity that fails
    monkeypatch.setattr(servicebus_wire, "_LOOK_AT_TOKEN_SECONDS", 0.005)
    broker.enqueue(message(1))
    consumer = broker.consume("default", prefetch=2, timeout=2000)
    first = receive(consumer)
    link = first.held.received.link
    get_token = claims(link)._auth.get_token

    async def fail():
        raise OSError("the identity's endpoint does not answer")

    claims(link)._auth.get_token = fail
    make_token_due(link)
    eventually(lambda: caplog.text.count("authorize: unreachable: the identity's endpoint") >= 2)

    # When it works again
    claims(link)._auth.get_token = get_token
    claims(link)._token_put_time = 0
    eventually(lambda: claims(link)._token_put_time)
    broker.enqueue(message(2))

    # Then the link has never ended
    second = receive(consumer)
    assert second.held.received.link is link
    consumer.ack(first)
    consumer.ack(second)
    consumer.close()
    assert broker.qsize("default") == 0


@contextmanager
def hanging(kit):
    """Have all that is connected hang, with its TCP alive; what connects afterwards is served."""
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 3600.0))
    yield
    eventually(lambda: kit.emulator.call(is_waited_for))
    kit.emulator.call(lambda server: setattr(server.latency, "outward", 0.0))


def is_waited_for(server) -> bool:
    return any(not connection._outward.is_empty for connection in server.container.clients)


def test_a_receiver_notices_a_peer_that_says_nothing_any_more(monkeypatch, caplog, kit, broker):
    # Given a consumer that hears of its peer every half second
    monkeypatch.setattr(servicebus_wire.Link, "_idle_seconds", 1)
    monkeypatch.setattr(servicebus_wire, "SILENCE_SECONDS", 1.2)
    consumer = broker.consume("default", timeout=5000)
    eventually(lambda: consumer._intake._link)
    connection, opened = consumer._intake._link._connection, time.time()
    eventually(lambda: connection._last_frame_received_time > opened + servicebus_wire.SILENCE_SECONDS)
    assert caplog.text == ""

    # When the peer hangs
    with hanging(kit):
        pass
    eventually(lambda: not kit.emulator.call(is_waited_for))

    # Then the consumer has left it for another, and said so
    kit.inject("default", message(1).encode())
    assert receive(consumer).args == (1,)
    assert "receive: connection_lost: nothing was received for 1.2 s" in caplog.text
    consumer.close()


def test_what_is_sent_to_a_peer_that_hangs_is_sent_again(monkeypatch, caplog, kit, broker):
    # Given a sender, and a queue that detects duplicates
    monkeypatch.setattr(servicebus_wire, "ANSWER_SECONDS", 0.3)
    change(kit, duplicate_window=60)
    broker.enqueue(message(1))

    # When the peer takes a message and hangs before it says so
    sender = threading.Thread(target=broker.enqueue, args=(message(2),))
    with hanging(kit):
        sender.start()
    sender.join(10)

    # Then it is sent over another link, and its sender is answered
    assert not sender.is_alive()
    assert broker.qsize("default") == 2
    assert "send: connection_lost: there was no answer within 0.3 s" in caplog.text


def test_what_is_written_to_a_connection_that_has_just_closed_is_sent_again(monkeypatch, broker):
    # Given a sender whose connection closes as it writes, before anybody has read of it
    broker.enqueue(message(1))
    transfer = SenderLink._transfer

    async def transfer_too_late(link, *arguments):
        monkeypatch.setattr(SenderLink, "_transfer", transfer)
        writer = link._connection._transport.writer
        writer.transport.abort()
        await writer.wait_closed()
        link._connection._transport.writer = writer
        await transfer(link, *arguments)

    monkeypatch.setattr(SenderLink, "_transfer", transfer_too_late)

    # When it sends, then the message goes over another link
    broker.enqueue(message(2))
    assert broker.qsize("default") == 2


def test_a_settlement_that_is_not_answered_is_made_over_another_link(monkeypatch, kit, broker):
    # Given a message that is held
    monkeypatch.setattr(servicebus_wire, "ANSWER_SECONDS", 0.3)
    broker.enqueue(message(1))
    consumer = broker.consume("default", timeout=5000)
    held = receive(consumer)

    # When the peer hangs as it is settled
    with hanging(kit):
        consumer.ack(held)
    consumer.flush()

    # Then it is settled all the same, and what comes next comes over another link
    assert broker.qsize("default") == 0
    broker.enqueue(message(2))
    following = receive(consumer)
    assert following.args == (2,)
    assert following.held.received.link is not held.held.received.link
    consumer.ack(following)
    consumer.close()


def test_orders_whose_senders_have_given_up_are_not_kept(kit):
    # Given senders that wait shortly, and a peer that hangs with as many batches as may be under way
    broker = kit.open(send_timeout_seconds=0.05)
    broker.declare_queue("default")
    outbox = on_loop(broker, lambda: broker._started().queue("default").outbox)
    eventually(lambda: is_sent(broker))
    with hanging(kit):
        for number in range(20):
            with pytest.raises(BrokerConnectionError):
                broker.enqueue(message(number))

    # Then only those that may still be sent are kept
    assert len(outbox._sending) == MAX_IN_FLIGHT
    assert len(outbox._waiting) == 1


def is_sent(broker) -> bool:
    try:
        broker.enqueue(message("first"))
    except BrokerConnectionError:
        return False
    return True


def test_what_is_sent_waits_for_credit(monkeypatch, kit, broker):
    # Given a service that grants a sender nothing yet
    monkeypatch.setattr(incoming, "CREDIT", 0)
    outbox = on_loop(broker, lambda: broker._started().queue("default").outbox)
    sender = threading.Thread(target=broker.enqueue, args=(message("abcdefghij" * 20_000),))
    sender.start()
    eventually(lambda: outbox._sending)
    assert queued(kit) == 0

    # When it grants something, then what has waited is sent
    monkeypatch.setattr(incoming, "CREDIT", 2)
    kit.emulator.call(grant)
    sender.join(10)
    assert queued(kit) == 1

    # And when more is sent at a time than it lets come, in several frames each, then all of it comes
    together(*[lambda: broker.enqueue(message("abcdefghij" * 20_000)) for _ in range(8)])
    assert broker.qsize("default") == 9


def queued(kit: ServiceBusKit) -> int:
    """How many messages are on the queue, asked over another connection."""
    other = kit.open()
    other.declare_queue("default")
    return other.qsize("default")


def grant(server) -> None:
    for connection in server.container.clients:
        for session in connection.sessions.values():
            for link in session.links.values():
                if isinstance(link, incoming.IncomingLink):
                    link.grant()
