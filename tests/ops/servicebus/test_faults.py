"""Every fault, as the unmodified SDK sees it. A new client each: the SDK is left in every state."""

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    ServiceBusConnectionError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from ops.emulators.servicebus import Fault
from tests.ops.servicebus.conftest import BOUND_SECONDS, forget, wait_until
from tests.ops.servicebus.sdk import sync_client


@pytest.fixture
def client(emulator):
    with sync_client(emulator.connection_string) as client:
        yield client
    emulator.call(forget)


@pytest.fixture
def patient(emulator):
    """A client that tries again, as most programs do."""
    with sync_client(emulator.connection_string, retry_total=3, retry_backoff_factor=0.01) as client:
        yield client
    emulator.call(forget)


def set_fault(emulator, *arguments, **options) -> None:
    emulator.call(lambda server: server.faults.add(Fault(*arguments, **options)))


def receive_one(receiver):
    got = receiver.receive_messages(1, max_wait_time=BOUND_SECONDS)
    assert len(got) == 1
    return got[0]


def send(sender, body: str = "x") -> None:
    sender.send_messages(ServiceBusMessage(body))


def test_a_busy_server_refuses_to_take_a_message(emulator, client, queue):
    # Given a sender, and a server that is busy once
    sender = client.get_queue_sender(queue)
    send(sender, "before")
    set_fault(emulator, "server-busy", "send", queue)
    # When it sends, then it is told so, and the message is not there
    with pytest.raises(ServiceBusServerBusyError):
        send(sender, "refused")
    send(sender, "after")
    bodies = [str(message) for message in client.get_queue_receiver(queue).peek_messages(5)]
    assert bodies == ["before", "after"]


def test_a_busy_server_refuses_to_settle_and_to_manage(emulator, client, queue):
    send(client.get_queue_sender(queue))
    receiver = client.get_queue_receiver(queue)
    message = receive_one(receiver)
    set_fault(emulator, "server-busy", "settle")
    set_fault(emulator, "server-busy", "manage")
    with pytest.raises(ServiceBusServerBusyError):
        receiver.complete_message(message)
    with pytest.raises(ServiceBusServerBusyError):
        receiver.peek_messages(1)


def test_an_entity_that_is_missing_is_not_found(emulator, client, queue):
    set_fault(emulator, "not-found", "attach", queue, count=None)
    with pytest.raises(MessagingEntityNotFoundError):
        send(client.get_queue_sender(queue))
    with pytest.raises(MessagingEntityNotFoundError):
        client.get_queue_receiver(queue).receive_messages(1, max_wait_time=1)


@pytest.mark.parametrize("kind", ["forced-close", "drop", "detach"])
def test_a_broken_link_is_an_error_and_the_next_try_is_well(emulator, client, queue, kind):
    # Given a sender whose next message meets a fault
    sender = client.get_queue_sender(queue)
    send(sender, "1")
    set_fault(emulator, kind, "send", queue)
    with pytest.raises(ServiceBusError) as caught:
        send(sender, "2")
    assert isinstance(caught.value, ServiceBusConnectionError)
    # When it tries again, then it is connected anew
    send(sender, "3")
    bodies = [str(message) for message in client.get_queue_receiver(queue).peek_messages(5)]
    assert bodies == ["1", "3"]


@pytest.mark.parametrize("kind", ["forced-close", "drop", "detach"])
def test_a_send_whose_answer_is_lost_is_sent_twice(emulator, patient, queue, kind):
    # Given a message that is taken, and never acknowledged
    sender = patient.get_queue_sender(queue)
    send(sender, "first")
    set_fault(emulator, kind, "send", queue, moment="after")
    # When the SDK tries again by itself, then the message is there twice
    send(sender, "again")
    bodies = [str(message) for message in patient.get_queue_receiver(queue).peek_messages(5)]
    assert bodies == ["first", "again", "again"]


@pytest.mark.parametrize("kind", ["forced-close", "drop", "detach"])
def test_a_settlement_whose_link_breaks_is_made_by_management(emulator, patient, queue, kind):
    # Given a message that is locked, and a link that breaks when it is completed
    send(patient.get_queue_sender(queue))
    receiver = patient.get_queue_receiver(queue)
    message = receive_one(receiver)
    set_fault(emulator, kind, "settle", queue)
    # When the SDK falls back on management, then the message is completed
    receiver.complete_message(message)
    assert receiver.peek_messages(1, sequence_number=1) == []


def test_a_lock_can_be_lost_early(emulator, client, queue):
    send(client.get_queue_sender(queue))
    receiver = client.get_queue_receiver(queue)
    message = receive_one(receiver)
    set_fault(emulator, "lock-lost", "settle", queue)
    with pytest.raises(MessageLockLostError):
        receiver.complete_message(message)
    # And the message comes again
    again = receive_one(receiver)
    assert again.delivery_count == 1
    # And a renewal can lose it as well
    set_fault(emulator, "lock-lost", "manage", queue)
    with pytest.raises(MessageLockLostError):
        receiver.renew_message_lock(again)


def test_a_delivery_that_never_arrives_is_made_again(emulator, patient, queue):
    # Given a receiver whose connection breaks as a message is under way
    send(patient.get_queue_sender(queue))
    set_fault(emulator, "drop", "deliver", queue, moment="after")
    receiver = patient.get_queue_receiver(queue)
    receiver_got = receiver.receive_messages(1, max_wait_time=2)
    # Then the message stays locked, whether it has arrived or not, until its lock has gone
    emulator.call(lambda server: server.container.namespace.find(queue).lose_locks())
    if not receiver_got:
        assert receive_one(receiver).delivery_count == 1


def test_a_refused_connection(emulator, client, queue):
    # Given a server that does not listen
    emulator.accept_connections(accepting=False)
    try:
        with pytest.raises(ServiceBusConnectionError):
            send(client.get_queue_sender(queue))
    finally:
        emulator.accept_connections(accepting=True)
    # When it listens again on the same port, then all is well
    send(client.get_queue_sender(queue))


def test_the_control_api_sets_what_goes_wrong(emulator, client, control, queue):
    # Given a fault from outside
    sender = client.get_queue_sender(queue)
    send(sender)
    fault = {"kind": "server-busy", "operation": "send", "entity": queue, "count": 1, "skip": 1}
    number = control.post("/faults", json=fault).raise_for_status().json()["id"]
    assert [found["id"] for found in control.get("/faults").json()] == [number]
    # Then it strikes after those that it skips, as often as it says
    send(sender)
    with pytest.raises(ServiceBusServerBusyError):
        send(sender)
    send(sender)
    state = control.get("/state").json()
    assert state["struck"]["server-busy"] >= 1
    entity = next(found for found in state["entities"] if found["name"] == queue)
    assert (entity["active"], entity["locked"]) == (3, 0)
    # And one that is removed strikes no more
    control.post("/faults", json={**fault, "skip": 0, "count": None})
    control.request("DELETE", "/faults", json={}).raise_for_status()
    send(sender)


def test_the_control_api_breaks_what_is_there_now(emulator, client, control, queue):
    # Given a locked message
    send(client.get_queue_sender(queue))
    receiver = client.get_queue_receiver(queue)
    receive_one(receiver)
    # When locks are lost and links detached, then the receiver sees the one after the other
    assert control.post("/locks/lose", json={"entity": queue}).json() == {"lost": 1}
    assert receive_one(receiver).delivery_count == 1
    assert control.post("/break", json={"how": "detach", "entity": queue}).json()["broken"] >= 1
    with pytest.raises(ServiceBusError):
        receiver.receive_messages(1, max_wait_time=2)


def test_the_control_api_sets_latency_and_refuses_connections(client, control, queue):
    # Given a server that is far away, and then does not listen
    control.put("/latency", json={"inward_ms": 3, "outward_ms": 4}).raise_for_status()
    assert control.get("/state").json()["latency"] == {"inward_ms": 3, "outward_ms": 4}
    control.put("/listening", json={"accepting": False}).raise_for_status()
    with pytest.raises(ServiceBusConnectionError):
        send(client.get_queue_sender(queue))
    # When it is as it was
    control.put("/listening", json={"accepting": True}).raise_for_status()
    control.put("/latency", json={}).raise_for_status()
    # Then all is well
    send(client.get_queue_sender(queue))


@pytest.mark.parametrize(
    ("method", "path", "body", "says"),
    [
        ("POST", "/faults", {"kind": "flood", "operation": "send"}, "kind must be one of"),
        ("POST", "/faults", {"kind": "lock-lost", "operation": "send"}, "lock-lost strikes manage, settle"),
        ("POST", "/faults", {"kind": "drop", "operation": "send", "often": 1}, "a fault has the fields"),
        ("POST", "/faults", {"kind": "drop", "operation": "send", "count": "1"}, "count must be a number"),
        ("PUT", "/latency", {"inward_ms": -1}, "inward_ms must be a number"),
        ("POST", "/break", {"how": "softly"}, "how must be"),
        ("PUT", "/listening", {}, "accepting must be"),
        ("PUT", "/idle", {"link_seconds": 0}, "link_seconds must be"),
        ("POST", "/nothing", {}, "there is GET /state"),
    ],
)
def test_a_wrong_request_is_told_what_is_right(control, method, path, body, says):
    answer = control.request(method, path, json=body)
    assert answer.status_code in {400, 404}
    assert says in answer.json()["error"]


def test_a_page_in_a_browser_controls_nothing(control):
    answer = control.get("/state", headers={"Host": "evil.example"})
    assert answer.status_code == 400


def test_idle_links_and_connections_are_closed(emulator, client, control, queue):
    # Given links that may be idle for a moment only
    control.put("/idle", json={"link_seconds": 0.3, "connection_seconds": 0.6}).raise_for_status()
    try:
        sender = client.get_queue_sender(queue)
        send(sender, "1")
        # When nothing is sent for longer, then link and connection go
        wait_until(lambda: emulator.call(lambda server: not server.container.clients))
        # And the next send says so, or connects anew
        with pytest.raises(ServiceBusError):
            send(sender, "2")
        send(sender, "3")
    finally:
        control.put("/idle", json={"link_seconds": 600, "connection_seconds": None}).raise_for_status()
