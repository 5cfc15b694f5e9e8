"""Frames and the performatives in them (AMQP 1.0, 2.3 and 2.7; SASL 5.3).

The performatives that each message needs, transfer and disposition, are put together by hand.
"""

import struct
from dataclasses import dataclass
from typing import cast

from ops.emulators.servicebus.codec.decode import decode, skip
from ops.emulators.servicebus.codec.encode import encode
from ops.emulators.servicebus.codec.values import DecodeError, Described, Symbol, ULong

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_FRAME, SASL_FRAME = 0, 1
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ERROR = 0x1D
RECEIVED, ACCEPTED, REJECTED, RELEASED, MODIFIED = range(0x23, 0x28)
SOURCE, TARGET = 0x28, 0x29
COORDINATOR, TRANSACTIONAL_STATE = 0x30, 0x34
SASL_MECHANISMS, SASL_INIT, SASL_CHALLENGE, SASL_RESPONSE, SASL_OUTCOME = range(0x40, 0x45)

_frame_header = struct.Struct(">IBBH")
_u32 = struct.Struct(">I")
#: More than any performative of a transfer takes: list and frame header, handle, ids, tag, flags.
TRANSFER_OVERHEAD = 96


@dataclass(frozen=True, slots=True)
class AmqpError:
    """Why something failed (2.8.14).

    Parameters:
      condition: A symbol such as ``amqp:not-found``.
      description: What a person reads.
    """

    condition: str
    description: str

    def described(self) -> Described:
        """Give it as an AMQP value, with all its fields: the SDK looks at the third without asking."""
        return Described(ULong(ERROR), [Symbol(self.condition), self.description, dict[str, str]()])


@dataclass(slots=True)
class Frame:
    """A frame that came in.

    Parameters:
      kind: AMQP or SASL.
      channel: The session's channel.
      code: The performative's code; -1 for an empty frame.
      fields: The performative's fields; those left out at the end are missing.
      payload: What follows the performative.
      performative: The performative's own bytes.
    """

    kind: int
    channel: int
    code: int
    fields: list[object]
    payload: bytes = b""
    performative: bytes = b""

    def field(self, index: int, default: object = None) -> object:
        """Give a field, or the default where it is null or missing."""
        if index >= len(self.fields):
            return default
        value = self.fields[index]
        return default if value is None else value

    def number(self, index: int, default: int | None = None) -> int:
        """Give a field that must be a number.

        Raises:
          DecodeError: It is none, and there is no default.
        """
        value = self.field(index, default)
        if not isinstance(value, int):
            raise DecodeError(f"field {index} of performative {self.code:#04x} must be a number")
        return value


def read_frame(data: bytes, start: int, end: int) -> Frame:
    """Read the frame between two positions.

    Raises:
      DecodeError: It is malformed.
    """
    offset = data[start + 4] * 4
    if offset < 8 or start + offset > end:
        raise DecodeError("a frame's data offset lies outside the frame")
    kind, channel = data[start + 5], data[start + 6] << 8 | data[start + 7]
    body = data[start + offset : end]
    if not body:
        return Frame(kind, channel, -1, [])
    performative, after = decode(body)
    if not isinstance(performative, Described) or not isinstance(performative.value, list):
        raise DecodeError("a frame's body is no performative")
    code = performative.descriptor
    if not isinstance(code, int):
        raise DecodeError(f"{code!r} is no performative of AMQP 1.0")
    return Frame(kind, channel, code, cast("list[object]", performative.value), body[after:], body[:after])


def raw_fields(performative: bytes) -> list[bytes]:
    """Cut a performative, or another composite, into the bytes of its fields.

    Raises:
      DecodeError: It is no composite.
    """
    position = skip(performative, 1)
    constructor = performative[position]
    if constructor == 0x45:
        return []
    if constructor not in {0xC0, 0xD0}:
        raise DecodeError("a composite is a described list")
    position += 3 if constructor == 0xC0 else 9
    fields: list[bytes] = []
    while position < len(performative):
        end = skip(performative, position)
        fields.append(performative[position:end])
        position = end
    return fields


def frame(
    channel: int, performative: bytes | bytearray, payload: bytes = b"", kind: int = AMQP_FRAME
) -> bytes:
    """Put a frame together."""
    size = 8 + len(performative) + len(payload)
    return b"".join((_frame_header.pack(size, 2, kind, channel), performative, payload))


def performative(code: int, fields: list[object]) -> bytearray:
    """Encode a performative; nulls at its end are left out (1.4)."""
    while fields and fields[-1] is None:
        fields = fields[:-1]
    out = bytearray()
    encode(Described(ULong(code), fields), out)
    return out


def transfer(
    *, handle: int, delivery_id: int, tag: bytes, settled: bool, more: bool, is_first: bool
) -> bytes:
    """Encode a transfer (2.7.5); the frames after a delivery's first carry no id, tag or format."""
    if is_first:
        fields = b"".join(
            (
                b"\x70" + _u32.pack(handle) + b"\x70" + _u32.pack(delivery_id) + b"\xa0",
                bytes((len(tag),)),
                tag,
                b"\x43",
                b"\x41" if settled else b"\x42",
                b"\x41" if more else b"\x42",
            )
        )
    else:
        fields = b"\x70" + _u32.pack(handle) + b"\x40\x40\x40\x40" + (b"\x41" if more else b"\x42")
    return b"\x00\x53\x14\xc0" + bytes((len(fields) + 1, 6)) + fields


def disposition(*, is_receiver: bool, first: int, last: int, state: bytes) -> bytes:
    """Encode a disposition that settles (2.7.6); the state is encoded already."""
    fields = b"".join(
        (
            b"\x41" if is_receiver else b"\x42",
            b"\x70" + _u32.pack(first) + b"\x70" + _u32.pack(last) + b"\x41",
            state,
        )
    )
    if len(fields) < 255:
        return b"\x00\x53\x15\xc0" + bytes((len(fields) + 1, 5)) + fields
    return b"\x00\x53\x15\xd0" + _u32.pack(len(fields) + 4) + _u32.pack(5) + fields
