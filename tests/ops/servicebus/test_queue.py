"""What a queue does, seen by the unmodified SDK over a socket."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusMessageState, ServiceBusReceiveMode
from azure.servicebus.exceptions import MessageLockLostError, MessageNotFoundError, MessageSizeExceededError

from tests.ops.servicebus.conftest import wait_until

DEAD = {"sub_queue": "deadletter"}


def texts(messages) -> list[str]:
    return [str(message) for message in messages]


def test_a_message_keeps_what_its_sender_said(line):
    # Given a message with every kind of property
    sent = ServiceBusMessage(
        b"body", message_id="m-1", correlation_id="c-1", subject="label", content_type="text/plain",
        to="nobody", reply_to="me", partition_key="p", application_properties={"n": 5, "s": "x", "t": True},
    )  # fmt: skip
    # When it is sent and received
    line.sender("main").send_messages(sent)
    got = line.receive_one("main")
    # Then all of it is there
    assert b"".join(got.body) == b"body"
    assert got.application_properties == {b"n": 5, b"s": b"x", b"t": True}
    assert (got.message_id, got.correlation_id, got.subject, got.content_type) == (
        *("m-1", "c-1", "label", "text/plain"),
    )
    assert (got.to, got.reply_to, got.partition_key) == ("nobody", "me", "p")
    # And the broker has added what it knows
    assert got.sequence_number == got.enqueued_sequence_number > 0
    assert abs((got.enqueued_time_utc - datetime.now(UTC)).total_seconds()) < 60
    assert 0 < (got.locked_until_utc - datetime.now(UTC)).total_seconds() <= 60
    assert got.delivery_count == 0
    assert got.state is ServiceBusMessageState.ACTIVE
    assert got.lock_token is not None
    annotation = got.raw_amqp_message.delivery_annotations[b"x-opt-lock-token"]
    assert annotation == got.lock_token


def test_a_completed_message_is_gone(line):
    line.send("main", "a")
    line.receiver("main").complete_message(line.receive_one("main"))
    assert line.is_empty("main")


def test_messages_come_in_order_also_from_batches(line):
    # Given a list, which the SDK sends as one batch, and a batch of its own
    line.send("main", *(f"a{n}" for n in range(20)))
    batch = line.sender("main").create_message_batch()
    for n in range(20):
        batch.add_message(ServiceBusMessage(f"b{n}"))
    line.sender("main").send_messages(batch)
    # When all are received, then their order is that of sending
    got = line.receive("main", 40)
    assert texts(got) == [f"a{n}" for n in range(20)] + [f"b{n}" for n in range(20)]
    numbers = [message.sequence_number for message in got]
    assert numbers == list(range(numbers[0], numbers[0] + 40))


def test_an_abandoned_message_returns_to_its_place(line):
    # Given two messages, the first of which is abandoned
    line.send("main", "first", "second")
    line.receiver("main").abandon_message(line.receive_one("main"))
    # Then it comes again before the second, and its delivery was counted
    again = line.receive("main", 2)
    assert texts(again) == ["first", "second"]
    assert [message.delivery_count for message in again] == [1, 0]


def test_a_dead_letter_says_why(line):
    # Given a message that its receiver gives up
    line.send("main", "bad", application_properties={"kept": "yes"})
    message = line.receive_one("main")
    line.receiver("main").dead_letter_message(message, reason="Broken", error_description="no handler")
    # Then it lies in the dead-letter queue with the reason, and nowhere else
    dead = line.receive_one("main", **DEAD)
    assert (dead.dead_letter_reason, dead.dead_letter_error_description) == ("Broken", "no handler")
    assert dead.dead_letter_source == "main"
    assert dead.application_properties[b"kept"] == b"yes"
    assert str(dead) == "bad"
    assert line.is_empty("main")
    line.receiver("main", **DEAD).complete_message(dead)
    assert line.receiver("main", **DEAD).peek_messages(1, sequence_number=1) == []


def test_a_message_delivered_too_often_is_dead_lettered(line):
    line.send("two-deliveries", "poison")
    for expected in (0, 1):
        message = line.receive_one("two-deliveries")
        assert message.delivery_count == expected
        line.receiver("two-deliveries").abandon_message(message)
    dead = line.receive_one("two-deliveries", **DEAD)
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert dead.delivery_count == 2


def test_a_lock_that_expires_gives_the_message_to_the_next(line):
    # Given a message whose lock of a second is not renewed
    line.send("short-lock", "slow")
    held = line.receive_one("short-lock")
    # When it is received again, which is not possible before the lock has ended
    again = line.receive_one("short-lock")
    assert again.delivery_count == 1
    assert again.enqueued_time_utc == held.enqueued_time_utc
    assert again.locked_until_utc > held.locked_until_utc
    # Then the first holder's word counts no more, even if it believes that the lock is alive
    forge_lock(held)
    with pytest.raises(MessageLockLostError):
        line.receiver("short-lock").complete_message(held)
    with pytest.raises(MessageLockLostError):
        line.receiver("short-lock").renew_message_lock(held)


def forge_lock(message) -> None:
    """Make the SDK, which looks at its own clock first, believe that a lock is alive."""
    message._raw_amqp_message.annotations[b"x-opt-locked-until"] = int((time.time() + 60) * 1000)
    message._expiry = None


def test_a_renewed_lock_lasts(line):
    line.send("renewed", "long")
    message = line.receive_one("renewed")
    ends = message.locked_until_utc
    wait_until(lambda: datetime.now(UTC) > ends - timedelta(seconds=1))
    renewed = line.receiver("renewed").renew_message_lock(message)
    assert renewed > ends
    wait_until(lambda: datetime.now(UTC) > ends)
    line.receiver("renewed").complete_message(message)
    assert line.is_empty("renewed")


def test_a_deferred_message_comes_by_its_number_only(line):
    # Given a message that was put aside
    line.send("main", "later", "next")
    first = line.receive_one("main")
    line.receiver("main").defer_message(first)
    assert str(line.receive_one("main")) == "next"
    peeked = line.receiver("main").peek_messages(1, sequence_number=first.sequence_number)
    assert peeked[0].state is ServiceBusMessageState.DEFERRED
    # When it is asked for by its number
    deferred = line.receiver("main").receive_deferred_messages(first.sequence_number)[0]
    # Then nobody else gets it, and settling it by management ends it
    with pytest.raises(MessageNotFoundError):
        line.receiver("main").receive_deferred_messages(first.sequence_number)
    line.receiver("main").complete_message(deferred)
    with pytest.raises(MessageNotFoundError):
        line.receiver("main").receive_deferred_messages(first.sequence_number)


@pytest.mark.parametrize("how", ["abandon", "defer", "dead_letter"])
def test_a_deferred_message_is_settled_by_management_in_every_way(line, how):
    # Given a deferred message that was received by its number
    line.send("main", how)
    receiver = line.receiver("main")
    first = line.receive_one("main")
    receiver.defer_message(first)
    deferred = receiver.receive_deferred_messages(first.sequence_number)[0]
    # When its receiver settles it, then it stays deferred, or is a dead letter
    getattr(receiver, f"{how}_message")(deferred)
    if how == "dead_letter":
        assert line.is_empty("main")
        assert str(line.receive_one("main", **DEAD)) == how
    else:
        again = receiver.receive_deferred_messages(first.sequence_number)[0]
        assert again.delivery_count == 2


def test_receive_and_delete_needs_no_settlement(line):
    line.send("main", *"abc")
    mode = {"receive_mode": ServiceBusReceiveMode.RECEIVE_AND_DELETE}
    assert texts(line.receive("main", 3, **mode)) == ["a", "b", "c"]
    assert line.is_empty("main")


def test_a_scheduled_message_waits_for_its_time(line):
    # Given one message for a moment ahead, and one sent with its time on it
    due = datetime.now(UTC) + timedelta(seconds=0.7)
    number = line.sender("main").schedule_messages(ServiceBusMessage("scheduled"), due)[0]
    line.send("main", "timed", scheduled_enqueue_time_utc=due)
    # Then both are scheduled, and can be seen
    peeked = line.receiver("main").peek_messages(5, sequence_number=1)
    assert [message.state for message in peeked] == [ServiceBusMessageState.SCHEDULED] * 2
    assert peeked[0].sequence_number == number
    # When they come, then not before their time, and with new numbers
    got = line.receive("main", 2)
    assert datetime.now(UTC) >= due
    assert sorted(texts(got)) == ["scheduled", "timed"]
    assert min(message.sequence_number for message in got) > number


def test_a_cancelled_message_never_comes(line):
    due = datetime.now(UTC) + timedelta(seconds=0.3)
    numbers = line.sender("main").schedule_messages([ServiceBusMessage("no"), ServiceBusMessage("yes")], due)
    line.sender("main").cancel_scheduled_messages(numbers[0])
    assert str(line.receive_one("main")) == "yes"
    # And what is no longer scheduled cannot be cancelled; of several, then none is
    later = line.sender("main").schedule_messages(ServiceBusMessage("far"), due + timedelta(hours=1))
    with pytest.raises(MessageNotFoundError):
        line.sender("main").cancel_scheduled_messages([later[0], numbers[1]])
    assert line.receiver("main").peek_messages(1, sequence_number=later[0])


def test_peeking_takes_nothing_and_pages(line):
    line.send("main", *(f"{n}" for n in range(5)))
    receiver = line.receiver("main")
    first = receiver.peek_messages(3, sequence_number=1)
    rest = receiver.peek_messages(3, sequence_number=first[-1].sequence_number + 1)
    assert texts(first + rest) == ["0", "1", "2", "3", "4"]
    assert texts(line.receive("main", 5)) == ["0", "1", "2", "3", "4"]


def test_an_expired_message_is_dropped_or_dead_lettered(line):
    # Given messages that live for a short time, by their own word or by the queue's
    line.send("dropping", "own", time_to_live=timedelta(seconds=0.2))
    line.send("short-life", "queue's")
    # Then the one is dropped and the other is a dead letter that expires no more
    dead = line.receive_one("short-life", **DEAD)
    assert dead.dead_letter_reason == "TTLExpiredException"
    wait_until(lambda: line.is_empty("dropping"))
    assert line.is_empty("short-life")
    assert line.receiver("dropping", **DEAD).peek_messages(1, sequence_number=1) == []


def test_a_message_that_expires_while_it_is_locked_can_be_completed(line):
    assert line.is_empty("short-life")  # its receiver is open, and will be in time
    line.send("short-life", "busy")
    message = line.receive_one("short-life")
    wait_until(lambda: datetime.now(UTC) > message.expires_at_utc)
    line.receiver("short-life").complete_message(message)
    assert line.receiver("short-life", **DEAD).peek_messages(1, sequence_number=1) == []


def test_a_message_id_is_accepted_once(line):
    line.send("once", "a", message_id="same")
    line.send("once", "b", message_id="same")
    line.send("once", "c", message_id="other")
    line.send("once", "d")
    assert sorted(texts(line.receive("once", 3))) == ["a", "c", "d"]
    assert line.receiver("once").receive_messages(1, max_wait_time=0.3) == []


@pytest.mark.parametrize("size", [70_000, 200_000])
def test_a_large_message_travels_in_several_frames(line, size):
    body = bytes(range(256)) * (size // 256)
    line.sender("main").send_messages(ServiceBusMessage(body))
    got = line.receive_one("main")
    assert b"".join(got.body) == body


def test_a_message_that_is_too_large_is_refused(line, queue):
    with pytest.raises(MessageSizeExceededError):
        line.sender(queue).send_messages(ServiceBusMessage(b"x" * 300_000))
    assert line.is_empty(queue)


def test_closing_a_receiver_gives_its_prefetched_messages_back(line, queue):
    # Given a receiver that has fetched more than it was asked for
    line.send(queue, *(f"{n}" for n in range(10)))
    with line.client.get_queue_receiver(queue, prefetch_count=10) as receiver:
        receiver.complete_message(receiver.receive_messages(1, max_wait_time=5)[0])
    # When it is closed, then the others are there at once, as if they had not been delivered
    got = line.receive(queue, 9)
    assert {message.delivery_count for message in got} == {0}


def test_the_dead_letter_queue_gives_messages_to_who_settles_them(line):
    # Given a dead letter
    line.send("main", "twice")
    line.receiver("main").dead_letter_message(line.receive_one("main"), reason="r", error_description="d")
    # When it is abandoned again and again, then it stays
    receiver = line.receiver("main", **DEAD)
    for expected in range(12):
        dead = line.receive_one("main", **DEAD)
        assert dead.delivery_count == expected
        receiver.abandon_message(dead)


def test_names_are_the_same_in_any_case(line):
    line.send("Main", "x")
    assert str(line.receive_one("mAIN")) == "x"
