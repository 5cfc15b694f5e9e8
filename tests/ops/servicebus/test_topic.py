"""Topics: every subscription gets every message."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessagingEntityNotFoundError, ServiceBusError

from tests.ops.servicebus.conftest import BOUND_SECONDS
from tests.ops.servicebus.sdk import sync_client


@pytest.fixture(scope="module")
def client(emulator):
    with sync_client(emulator.connection_string) as client:
        yield client


def receive(receiver, count: int) -> list[str]:
    got = []
    while len(got) < count:
        found = receiver.receive_messages(count - len(got), max_wait_time=BOUND_SECONDS)
        assert found
        got += found
        for message in found:
            receiver.complete_message(message)
    return [str(message) for message in got]


def test_every_subscription_gets_a_message_of_its_own(client):
    # Given two subscriptions of a topic
    one, two = (client.get_subscription_receiver("news", name) for name in ("one", "two"))
    sender = client.get_topic_sender("news")
    # When messages are sent, now and for later
    sender.send_messages([ServiceBusMessage("a"), ServiceBusMessage("b")])
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    numbers = sender.schedule_messages([ServiceBusMessage("c"), ServiceBusMessage("never")], due)
    sender.cancel_scheduled_messages(numbers[1])
    # Then both get all, and what the one does is nothing to the other
    assert receive(one, 3) == ["a", "b", "c"]
    message = two.receive_messages(1, max_wait_time=BOUND_SECONDS)[0]
    two.dead_letter_message(message, reason="r", error_description="d")
    dead = client.get_subscription_receiver("news", "two", sub_queue="deadletter")
    assert dead.peek_messages(1)[0].dead_letter_source == "news/Subscriptions/two"
    assert receive(two, 2) == ["b", "c"]


def test_an_undeclared_name_is_a_topic_once_it_has_a_subscription(client):
    # Given a sender on a name that nobody has declared
    sender = client.get_topic_sender("live")
    sender.send_messages(ServiceBusMessage("before there was a subscription"))
    # When a subscription is made by receiving from it
    receiver = client.get_subscription_receiver("live", "slot-1")
    assert receiver.peek_messages(1) == []
    # Then what is sent from then on reaches it, over the link that was there before
    sender.send_messages(ServiceBusMessage("live"))
    assert receive(receiver, 1) == ["live"]


def test_a_topic_itself_cannot_be_received_from(client):
    with pytest.raises(MessagingEntityNotFoundError):
        client.get_queue_receiver("news").receive_messages(1, max_wait_time=1)


def test_what_is_not_emulated_says_so(client):
    with pytest.raises(ServiceBusError, match="Sessions are not emulated"):
        client.get_queue_receiver("with-sessions", session_id="s").receive_messages(1, max_wait_time=1)
    with pytest.raises(ServiceBusError, match="does not emulate"):
        client.get_queue_receiver("main", sub_queue="transferdeadletter").receive_messages(1, max_wait_time=1)
