"""The codec against the SDK's own, over whatever hypothesis thinks of."""

import uuid
from contextlib import suppress
from decimal import Decimal

import pytest
from azure.servicebus._pyamqp import _decode, _encode
from azure.servicebus._pyamqp.message import Header, Message, Properties
from azure.servicebus._pyamqp.performatives import DispositionFrame, FlowFrame, TransferFrame
from azure.servicebus._pyamqp.types import AMQPTypes
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.emulators.servicebus.codec.decode import MAX_DEPTH, decode, skip
from ops.emulators.servicebus.codec.encode import encoded
from ops.emulators.servicebus.codec.frames import disposition, read_frame, transfer
from ops.emulators.servicebus.codec.outcomes import ACCEPTED_STATE
from ops.emulators.servicebus.codec.values import (
    Array,
    DecodeError,
    Described,
    Int,
    Long,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)
from ops.emulators.servicebus.entities.message import Message as StoredMessage


def whole(kind, bits: int, *, signed: bool):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return st.integers(low, high).map(kind)


#: Deadlines would fail on a busy machine.
checked = settings(max_examples=50, deadline=None)

text = st.text(max_size=20) | st.just("long" * 70)
binary = st.binary(max_size=20) | st.just(b"\0" * 256)
names = st.text(st.characters(max_codepoint=126, min_codepoint=33), max_size=20) | st.just("name" * 70)
symbols = names.map(Symbol)
#: What we encode, with the values that the SDK and we decode it to.
scalars = st.one_of(
    st.none(), st.booleans(), st.floats(allow_nan=False), binary, text, symbols, st.uuids(),
    whole(UByte, 8, signed=False), whole(UShort, 16, signed=False), whole(UInt, 32, signed=False),
    whole(ULong, 64, signed=False), whole(Int, 32, signed=True), whole(Long, 64, signed=True),
    whole(Timestamp, 64, signed=True),
)  # fmt: skip
arrays = st.one_of(
    *(
        st.lists(items, min_size=1, max_size=20).map(lambda found: Array(tuple(found)))
        for items in (whole(Long, 64, signed=True), st.uuids(), st.binary(max_size=20), text, symbols)
    )
)
values = st.recursive(
    scalars | arrays,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text | symbols, inner, max_size=4),
    max_leaves=10,
)


def as_sdk_sees(value):
    """Turn a value of ours into what the SDK decodes: text as bytes, arrays as lists."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, Array):
        return [as_sdk_sees(item) for item in value.items]
    if isinstance(value, list):
        return [as_sdk_sees(item) for item in value]
    if isinstance(value, dict):
        return {as_sdk_sees(key): as_sdk_sees(item) for key, item in value.items()}
    return value


def plain(value):
    """Turn a value of ours into what we decode: an array is a list."""
    if isinstance(value, Array):
        return [plain(item) for item in value.items]
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def sdk_decode(data: bytes):
    rest, value = _decode._DECODE_BY_CONSTRUCTOR[data[0]](memoryview(data)[1:])
    assert not rest
    return value


@checked
@given(values)
def test_the_sdk_reads_what_we_write(value):
    assert sdk_decode(encoded(value)) == as_sdk_sees(value)


@checked
@given(values)
def test_we_read_what_we_write_and_know_where_it_ends(value):
    data = encoded(value)
    assert decode(b"ab" + data + b"cd", 2) == (plain(value), 2 + len(data))
    assert skip(b"ab" + data + b"cd", 2) == 2 + len(data)


sdk_scalars = st.one_of(
    st.none(), st.booleans(), st.floats(allow_nan=False), binary, text, st.uuids(),
    st.integers(-(2**31), 2**31 - 1),  # the SDK writes a plain number as an int of 32 bits
)  # fmt: skip
sdk_values = st.recursive(
    sdk_scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)


@checked
@given(sdk_values)
def test_we_read_what_the_sdk_writes(value):
    out = bytearray()
    _encode.encode_value(out, value)
    assert decode(bytes(out)) == (value, len(out))


@checked
@given(st.lists(st.uuids(), min_size=1, max_size=40), st.lists(st.integers(0, 2**63 - 1), min_size=1))
def test_we_read_the_sdk_s_arrays(tokens, numbers):
    for kind, items in ((AMQPTypes.uuid, tokens), (AMQPTypes.long, numbers)):
        out = bytearray()
        array = [{"TYPE": kind, "VALUE": item} for item in items]
        _encode.encode_value(out, {"TYPE": AMQPTypes.array, "VALUE": array})
        assert decode(bytes(out))[0] == items


maps = st.none() | st.dictionaries(text, sdk_scalars, max_size=5)
messages = st.fixed_dictionaries(
    {
        "header": st.none()
        | st.tuples(st.booleans(), st.integers(0, 2**32 - 1)).map(
            lambda it: Header(durable=it[0], ttl=it[1])
        ),
        "message_annotations": st.none() | st.dictionaries(names, sdk_scalars, max_size=5),
        "properties": st.none()
        | st.tuples(st.uuids() | text, text).map(lambda it: Properties(message_id=it[0], subject=it[1])),
        "application_properties": maps,
        "data": st.binary(max_size=2000),
    }
).map(lambda fields: Message(**fields))


@checked
@given(messages, st.integers(0, 2**31), st.none() | st.binary(min_size=16, max_size=16))
def test_a_message_comes_out_as_the_sdk_put_it_in(message, sequence, token):
    # Given a message that the SDK encoded
    payload = bytes(_encode.encode_payload(bytearray(), message))
    # When it is stored and delivered
    stored = StoredMessage(payload)
    stored.sequence, stored.lock = sequence, token
    delivered = _decode.decode_payload(memoryview(stored.encode()))
    # Then the SDK finds what it had written, and what the broker adds
    before = _decode.decode_payload(memoryview(payload))
    assert delivered.data == before.data
    assert delivered.properties == before.properties
    assert delivered.application_properties == before.application_properties
    assert (before.message_annotations or {}).items() <= delivered.message_annotations.items()
    assert delivered.message_annotations[b"x-opt-sequence-number"] == sequence
    if token is not None:
        lock = delivered.delivery_annotations[b"x-opt-lock-token"]
        assert lock == uuid.UUID(bytes_le=token)
    # And it survives a store
    assert StoredMessage(stored.content()).content() == stored.content()


@checked
@given(messages, st.dictionaries(text, text | st.booleans() | st.integers(0, 2**31 - 1), max_size=4))
def test_properties_are_changed_and_the_others_stay(message, changes):
    stored = StoredMessage(bytes(_encode.encode_payload(bytearray(), message)))
    before = _decode.decode_payload(memoryview(stored.encode())).application_properties or {}
    stored.set_properties(changes)
    after = _decode.decode_payload(memoryview(stored.encode())).application_properties
    assert after == {**before, **as_sdk_sees(changes)}


@checked
@given(st.binary(max_size=200))
def test_rubbish_is_refused_and_nothing_else_happens(data):
    for read in (decode, skip, lambda found, _start: StoredMessage(found)):
        with suppress(DecodeError):
            read(data, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x53\x01" * (MAX_DEPTH + 1) + b"\x40",
        b"\xc0\x03\x01" * (MAX_DEPTH + 1) + b"\x40",
        b"\xf0\x00\x00\x00\x05\xff\xff\xff\xff\x41",  # four thousand million times true, in no bytes
        b"\xd0\x00\x00\x00\x04\x7f\xff\xff\xff",
        b"\xb0\xff\xff\xff\xffshort",
        b"\xc1\x02\x01\x40",
        b"\x01",
        b"",
    ],
)
def test_misuse_is_refused(data):
    with pytest.raises(DecodeError):
        decode(data)


@checked
@given(
    st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=32), st.booleans(), st.booleans(),
    st.binary(max_size=100),
)  # fmt: skip
def test_the_sdk_reads_our_transfers(handle, delivery_id, tag, settled, more, payload):
    data = transfer(
        handle=handle, delivery_id=delivery_id, tag=tag, settled=settled, more=more, is_first=True
    )
    code, fields = _decode.decode_frame(memoryview(data + payload))
    assert (code, fields[:6], bytes(fields[-1])) == (
        20,
        [handle, delivery_id, tag, 0, settled, more],
        payload,
    )


@checked
@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans())
def test_the_sdk_reads_our_dispositions(first, last, is_receiver):
    data = disposition(is_receiver=is_receiver, first=first, last=last, state=ACCEPTED_STATE)
    code, fields = _decode.decode_frame(memoryview(data))
    assert (code, fields[:5]) == (21, [is_receiver, first, last, True, {"accepted": []}])


u32 = st.integers(0, 2**32 - 1)
frames = st.one_of(
    st.tuples(
        st.integers(0, 255), u32, st.binary(max_size=32), u32, st.booleans(), st.booleans(),
        *[st.none()] * 5, st.binary(max_size=100),
    ).map(lambda it: TransferFrame(*it)),
    st.tuples(
        *[u32] * 4, st.integers(0, 255), u32, u32, st.none(), st.booleans(), st.booleans(), st.none()
    ).map(lambda it: FlowFrame(*it)),
    st.tuples(st.booleans(), st.integers(0, 2**32 - 1), st.booleans()).map(
        lambda it: DispositionFrame(it[0], it[1], None, it[2], None, None)
    ),
)  # fmt: skip


@checked
@given(frames, st.integers(0, 65_535))
def test_we_read_the_sdk_s_frames(sent, channel):
    header, body = _encode.encode_frame(sent)
    data = bytes(header) + channel.to_bytes(2) + bytes(body)
    got = read_frame(data, 0, len(data))
    fields, payload = (list(sent[:-1]), sent[-1]) if hasattr(sent, "payload") else (list(sent), b"")
    assert (got.kind, got.channel, got.code, got.payload) == (0, channel, sent._code, payload)
    assert [got.field(index) for index in range(len(fields))] == fields


def test_a_plain_number_has_no_width():
    with pytest.raises(TypeError, match="int has no AMQP type"):
        encoded(5)
    with pytest.raises(TypeError, match="one type"):
        encoded(Array((Long(1), "a")))


def test_described_values_and_decimals_are_carried():
    assert decode(encoded(Described(ULong(5), "x")))[0] == Described(5, "x")
    out = bytearray()
    _encode.encode_value(out, {"TYPE": AMQPTypes.decimal128, "VALUE": Decimal("1.5")})
    opaque, end = decode(bytes(out))
    assert end == len(out)
    assert encoded(opaque) == bytes(out)
