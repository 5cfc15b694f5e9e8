"""AMQP 1.0 to the letter: credit, drain, windows, frames, idleness, and what is refused."""

import asyncio

import pytest

from ops.emulators.servicebus.codec.encode import encoded
from ops.emulators.servicebus.codec.frames import (
    AMQP_HEADER,
    ATTACH,
    CLOSE,
    DETACH,
    DISPOSITION,
    EMPTY_FRAME,
    END,
    FLOW,
    MODIFIED,
    RECEIVED,
    REJECTED,
    SASL_HEADER,
    TRANSACTIONAL_STATE,
    TRANSFER,
    disposition,
    frame,
)
from ops.emulators.servicebus.codec.outcomes import ACCEPTED_STATE, RELEASED_STATE
from ops.emulators.servicebus.codec.values import Described, Symbol, UInt, ULong
from tests.ops.servicebus.raw import condition, connect, message, session


async def fill(client, queue: str, count: int, size: int = 1) -> None:
    """Send messages on handle 0."""
    await client.attach(queue, 0, receiver=False)
    await client.expect(FLOW)
    for number in range(count):
        client.transfer(0, number, message(b"x" * size))
    for _ in range(count):
        await client.expect(DISPOSITION)


async def test_no_message_comes_without_credit_and_credit_is_absolute(emulator, queue):
    async with session(emulator) as client:
        # Given five messages and a receiver
        await fill(client, queue, 5)
        await client.attach(queue, 1, receiver=True)
        await client.silence()
        # When it grants credit for two, then two come
        client.credit(1, 2)
        for _ in range(2):
            assert (await client.read()).code == TRANSFER
        await client.silence()
        # When it says one from its old count on, that is used up already; one from the new is one more
        client.credit(1, 1, count=0, incoming=2)
        await client.silence()
        client.credit(1, 1, count=2, incoming=2)
        assert (await client.read()).code == TRANSFER
        await client.silence()


async def test_a_drain_uses_credit_up_and_says_so(emulator, queue):
    async with session(emulator) as client:
        await fill(client, queue, 2)
        await client.attach(queue, 1, receiver=True)
        # When ten are drained and two are there, then they come, and the rest of the credit is gone
        client.credit(1, 10, drain=True)
        assert [(await client.read()).code for _ in range(2)] == [TRANSFER] * 2
        answer = await client.read()
        assert (answer.code, answer.number(4), answer.number(5), answer.number(6)) == (FLOW, 1, 10, 0)
        assert answer.field(8) is True
        # And what is sent later does not come
        client.transfer(0, 2, message(b"later"))
        await client.expect(DISPOSITION)
        await client.silence()


async def test_an_echo_is_answered_with_the_link_s_state(emulator, queue):
    async with session(emulator) as client:
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 7, echo=True)
        answer = await client.read()
        assert (answer.code, answer.number(4), answer.number(5), answer.number(6)) == (FLOW, 1, 0, 7)


async def test_frames_wait_for_the_session_s_window(emulator, queue):
    # Given a window of two frames, and a message that takes more
    async with session(emulator, max_frame_size=1024, window=2) as client:
        await fill(client, queue, 2, size=4000)
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 1, window=2)
        frames = [await client.read() for _ in range(2)]
        # Then the rest waits, and no other message is locked for a receiver that cannot get it
        client.credit(1, 5, window=0, incoming=2)
        await client.silence()
        assert emulator.call(lambda server: server.container.namespace.find(queue).locked_count) == 1
        # When the window opens, then the rest comes, and the parts make the message
        client.credit(1, 1, window=100, incoming=2)
        while frames[-1].field(5) is True:
            frames.append(await client.read())
        payload = b"".join(part.payload for part in frames)
        assert payload.endswith(message(b"x" * 4000))
        assert len(frames) > 4
        assert [part.field(1) for part in frames] == [0] + [None] * (len(frames) - 1)


async def test_a_message_in_parts_and_one_that_is_aborted(emulator, queue):
    async with session(emulator) as client:
        await client.attach(queue, 0, receiver=False)
        whole = message(b"in three parts")
        # Given a message that is given up in the middle, and one that comes whole
        client.transfer(0, 0, whole[:9], more=True)
        aborted = b"\x00\x53\x14\xc0\x0b\x0a\x52\x00\x40\x40\x40\x40\x42\x40\x40\x40\x41"
        client.write(frame(1, aborted))
        client.transfer(0, 1, whole[:5], more=True)
        client.transfer(0, 1, whole[5:9], more=True, first=False)
        client.transfer(0, 1, whole[9:], first=False)
        assert (await client.expect(DISPOSITION)).number(1) == 1
        # Then only that is there
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 5)
        assert (await client.expect(TRANSFER)).payload.endswith(whole)
        await client.silence()


async def test_a_range_of_deliveries_is_settled_at_once(emulator, queue):
    async with session(emulator) as client:
        await fill(client, queue, 4)
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 4)
        ids = [(await client.expect(TRANSFER)).number(1) for _ in range(4)]
        # When a range far beyond what there is is settled, then all of it is, and nothing hangs
        unsettled = disposition(is_receiver=True, first=ids[0], last=ids[0] + 2**31 - 2, state=ACCEPTED_STATE)
        client.write(frame(1, unsettled.replace(b"\x41" + ACCEPTED_STATE, b"\x42" + ACCEPTED_STATE)))
        answered = {(await client.expect(DISPOSITION)).number(1) for _ in ids}
        assert answered == set(ids)


async def test_a_released_delivery_was_no_delivery(emulator, queue):
    async with session(emulator) as client:
        await fill(client, queue, 1)
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 1)
        first = await client.expect(TRANSFER)
        released = disposition(
            is_receiver=True, first=first.number(1), last=first.number(1), state=RELEASED_STATE
        )
        client.write(frame(1, released))
        client.credit(1, 1, count=1, incoming=1)
        again = await client.expect(TRANSFER)
        assert again.payload[:14] == first.payload[:14]  # the header, with its delivery count


async def test_messages_go_to_receivers_in_turn(emulator, queue):
    async with session(emulator) as client:
        for handle in (1, 2):
            await client.attach(queue, handle, receiver=True)
            client.credit(handle, 10)
        await fill_only(client, queue, 6)
        handles = [(await client.expect(TRANSFER)).number(0) for _ in range(6)]
        assert sorted(handles) == [1, 1, 1, 2, 2, 2]


async def fill_only(client, queue: str, count: int) -> None:
    await client.attach(queue, 0, receiver=False)
    for number in range(count):
        client.transfer(0, number, message(b"x"))


async def test_rubbish_in_a_message_is_rejected_and_the_link_lives(emulator, queue):
    async with session(emulator) as client:
        await client.attach(queue, 0, receiver=False)
        client.transfer(0, 0, b"this is no message")
        refused = await client.expect(DISPOSITION)
        assert refused.field(4).descriptor == REJECTED
        assert condition(refused.field(4).value[0]) == "amqp:decode-error"
        client.transfer(0, 1, message(b"but this is"))
        assert (await client.expect(DISPOSITION)).number(1) == 1


async def test_an_open_that_is_too_small_is_refused(emulator):
    async with connect(emulator) as client:
        await client.sasl()
        await client.open(max_frame_size=100)
        assert await client.closed() == "amqp:invalid-field"


@pytest.mark.parametrize("header", [AMQP_HEADER, b"HTTP/1.1", b"AMQP\x03\x01\x00\x01"])
async def test_a_connection_begins_with_sasl(emulator, header):
    async with connect(emulator) as client:
        client.write(header)
        assert await client.reader.read() == SASL_HEADER


async def test_an_unknown_mechanism_fails(emulator):
    async with connect(emulator) as client:
        assert await client.sasl("SCRAM-SHA-256") == 1
        assert await client.reader.read() == b""


UNATTACHED = "amqp:session:unattached-handle"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"\x00\x00\x00\x07\x02\x00\x00\x01", "amqp:connection:framing-error"),
        (b"\xff\xff\xff\xff\x02\x00\x00\x01", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x01\x01\x02\x03\x04", "amqp:decode-error"),
        (b"\x00\x00\x00\x0c\x01\x00\x00\x01\x00\x53\x14\x45", "amqp:decode-error"),
        (b"\x00\x00\x00\x0c\x02\x01\x00\x01\x00\x53\x17\x45", "amqp:connection:framing-error"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x09\x00\x53\x14\x45", "amqp:not-allowed"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x00\x00\x53\x10\x45", "amqp:illegal-state"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x01\x00\x53\x11\x45", "amqp:not-allowed"),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x01\x00\x53\x14\x45", "amqp:decode-error"),
        (b"\x00\x00\x00\x10\x02\x00\x00\x01\x00\x53\x14\xc0\x03\x01\x52\x33", UNATTACHED),
        (b"\x00\x00\x00\x0c\x02\x00\x00\x01\x00\x53\x77\x45", "amqp:not-implemented"),
    ],
)  # fmt: skip
async def test_a_peer_that_breaks_the_protocol_is_told_and_hung_up_on(emulator, sent, expected):
    async with session(emulator) as client:
        client.write(sent)
        assert await client.closed() == expected
        client.send(CLOSE, [], channel=0)
        assert await client.reader.read() == b""


async def test_a_handle_is_attached_once(emulator, queue):
    async with session(emulator) as client:
        await client.attach(queue, 1, receiver=True)
        client.send(ATTACH, ["other", UInt(1), True])
        assert await client.closed() == "amqp:session:handle-in-use"


async def test_links_and_sessions_end_when_they_are_asked_to(emulator, queue):
    async with session(emulator) as client:
        await client.attach(queue, 1, receiver=True)
        client.send(DETACH, [UInt(1), True])
        answer = await client.expect(DETACH)
        assert (answer.number(0), answer.field(1), answer.field(2)) == (1, True, None)
        client.send(END, [])
        await client.expect(END)
        client.send(CLOSE, [], channel=0)
        await client.expect(CLOSE)
        assert await client.reader.read() == b""


async def test_an_idle_peer_hears_from_us_as_often_as_it_wants(emulator):
    async with connect(emulator) as client:
        await client.sasl()
        await client.open(idle_ms=200)
        for _ in range(3):
            assert (await client.read()).code == -1


async def test_a_silent_peer_is_hung_up_on(emulator):
    limits = emulator.call(lambda server: server.container.limits)
    before, limits.idle_timeout_seconds = limits.idle_timeout_seconds, 0.3
    try:
        async with connect(emulator) as client:
            await client.sasl()
            opened = await client.open()
            assert opened.number(4) == 300
            # Empty frames are signs of life; without them the connection is closed
            for _ in range(3):
                client.write(EMPTY_FRAME)
                await asyncio.sleep(0.1)
            assert await client.closed() == "amqp:connection:forced"
    finally:
        limits.idle_timeout_seconds = before


async def test_an_abandoned_message_takes_changes_to_its_properties(emulator, queue):
    async with session(emulator) as client:
        await fill(client, queue, 1)
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 2)
        first = (await client.expect(TRANSFER)).number(1)
        # When it is abandoned with a note, then it comes with the note on it
        changes = {Symbol("note"): "seen"}
        settle(client, first, MODIFIED, [True, False, changes])
        again = await client.expect(TRANSFER)
        assert encoded("note") + encoded("seen") in again.payload


def settle(client, delivery_id: int, code: int, fields: list) -> None:
    state = Described(ULong(code), fields)
    client.send(DISPOSITION, [True, UInt(delivery_id), None, False, state])


async def test_a_state_that_is_no_outcome_settles_nothing(emulator, queue):
    async with session(emulator) as client:
        await fill(client, queue, 1)
        await client.attach(queue, 1, receiver=True)
        client.credit(1, 1)
        delivery_id = (await client.expect(TRANSFER)).number(1)
        settle(client, delivery_id, RECEIVED, [UInt(0), ULong(0)])
        await client.silence()
        settle(client, delivery_id, TRANSACTIONAL_STATE, [b"txn"])
        refused = (await client.expect(DISPOSITION)).field(4)
        assert condition(refused.value[0]) == "amqp:not-implemented"
        assert emulator.call(lambda server: server.container.namespace.find(queue).locked_count) == 1


async def test_transactions_are_refused_by_name(emulator):
    async with session(emulator) as client:
        coordinator = b"\x00\x53\x30\xc0\x01\x00"
        source = b"\x00\x53\x28\x45"
        attach = b"\xa1\x01t\x43\x42\x40\x40" + source + coordinator
        client.write(frame(1, b"\x00\x53\x12\xc0" + bytes((len(attach) + 1, 7)) + attach))
        assert await client.detached() == "amqp:not-implemented"
