"""The bytes that are sent are those that the SDK would send."""

import struct
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus._pyamqp._decode import decode_frame
from azure.servicebus._pyamqp._encode import encode_payload
from azure.servicebus._pyamqp.message import BatchMessage, Properties
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport
from hypothesis import example, given, settings
from hypothesis import strategies as st

from brokers.servicebus_encoding import MAX_MESSAGE_ID, encode_batch, encode_message, transfers

BODIES = st.binary(max_size=400) | st.sampled_from([b"x" * 255, b"x" * 256, b"x" * 70_000])
IDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=MAX_MESSAGE_ID)
TIMES = st.integers(10**9, 4 * 10**9).map(lambda at: datetime.fromtimestamp(at + 0.6789, UTC)) | st.none()


def of_sdk(message) -> bytes:
    output = bytearray()
    encode_payload(output, message)
    return bytes(output)


@settings(max_examples=50)
@given(BODIES, IDS, TIMES)
@example(b"", "\U0001f600" * MAX_MESSAGE_ID, None)
@example(b"", "x" * 57, None)
def test_a_message_is_encoded_as_by_the_sdk(body, message_id, due):
    message = ServiceBusMessage(
        body, message_id=message_id, content_type="application/json", scheduled_enqueue_time_utc=due
    )
    expected = of_sdk(PyamqpTransport.to_outgoing_amqp_message(message.raw_amqp_message))
    assert encode_message(body, message_id, due) == expected


@settings(max_examples=30)
@given(st.lists(BODIES, min_size=1, max_size=4), IDS)
def test_a_batch_is_encoded_as_by_the_sdk(messages, message_id):
    expected = of_sdk(BatchMessage(properties=Properties(message_id=message_id), data=messages))
    assert encode_batch(messages, message_id) == expected


def test_an_id_that_service_bus_does_not_take_is_refused():
    with pytest.raises(ValueError, match="at most 128 characters"):
        encode_message(b"", "x" * (MAX_MESSAGE_ID + 1), None)


U32 = st.integers(0, 2**32 - 1)


@settings(max_examples=50)
@given(st.binary(min_size=1, max_size=3000), st.integers(64, 1100), st.integers(0, 255), U32, U32, U32)
@example(b"x" * (2 * (512 - 37)), 512, 0, 0, 1, 1)
def test_transfers_bear_the_whole_batch_within_their_size(batch, max_frame, channel, handle, delivery, tag):
    # Given a batch that takes one or several frames
    frames = list(
        transfers(batch, channel=channel, handle=handle, delivery_id=delivery, tag=tag, max_frame=max_frame)
    )

    # Then the SDK reads in each how long it is, where it belongs, and whether more follows
    parts = []
    for number, frame in enumerate(frames, start=1):
        size, offset, kind, on = struct.unpack_from(">IBBH", frame)
        assert size == len(frame) <= max_frame
        assert (offset, kind, on) == (2, 0, channel)
        code, fields = decode_frame(memoryview(frame)[8:])
        assert code == 0x14
        assert fields[:6] == [handle, delivery, tag.to_bytes(4), 0x80013700, False, number < len(frames)]
        parts.append(bytes(fields[11]))
    # And together they are the batch
    assert b"".join(parts) == batch
