"""Values to bytes (AMQP 1.0, part 1), each in the shortest form that its type has."""

import struct
from collections.abc import Callable
from typing import cast
from uuid import UUID

from ops.emulators.servicebus.codec.values import (
    Array,
    Described,
    Int,
    Long,
    Opaque,
    Raw,
    Symbol,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
)

_pack_u16 = struct.Struct(">H").pack
_pack_u32 = struct.Struct(">I").pack
_pack_u64 = struct.Struct(">Q").pack
_pack_i32 = struct.Struct(">i").pack
_pack_i64 = struct.Struct(">q").pack
_pack_double = struct.Struct(">d").pack


def encode(value: object, out: bytearray) -> None:
    """Append a value.

    Parameters:
      value: None, a bool, float, `bytes`, `str`, `UUID`, list, dict, or a class of `values`.
      out: What it is appended to.

    Raises:
      TypeError: The value has no AMQP type; a plain int has none, since it lacks a width.
    """
    try:
        write = _WRITERS[type(value)]
    except KeyError:
        raise TypeError(f"{type(value).__name__} has no AMQP type") from None
    write(value, out)


def encoded(value: object) -> bytes:
    """Give a value's bytes."""
    out = bytearray()
    encode(value, out)
    return bytes(out)


def _null(_value: None, out: bytearray) -> None:
    out.append(0x40)


def _boolean(value: bool, out: bytearray) -> None:  # noqa: FBT001 -- the value that is written
    out.append(0x41 if value else 0x42)


def _ubyte(value: int, out: bytearray) -> None:
    out += bytes((0x50, value))


def _ushort(value: int, out: bytearray) -> None:
    out += b"\x60" + _pack_u16(value)


def _uint(value: int, out: bytearray) -> None:
    if value == 0:
        out.append(0x43)
    elif value < 256:
        out += bytes((0x52, value))
    else:
        out += b"\x70" + _pack_u32(value)


def _ulong(value: int, out: bytearray) -> None:
    if value == 0:
        out.append(0x44)
    elif value < 256:
        out += bytes((0x53, value))
    else:
        out += b"\x80" + _pack_u64(value)


def _int(value: int, out: bytearray) -> None:
    if -128 <= value < 128:
        out += bytes((0x54, value & 0xFF))
    else:
        out += b"\x71" + _pack_i32(value)


def _long(value: int, out: bytearray) -> None:
    if -128 <= value < 128:
        out += bytes((0x55, value & 0xFF))
    else:
        out += b"\x81" + _pack_i64(value)


def _timestamp(value: int, out: bytearray) -> None:
    out += b"\x83" + _pack_i64(value)


def _double(value: float, out: bytearray) -> None:
    out += b"\x82" + _pack_double(value)


def _uuid(value: UUID, out: bytearray) -> None:
    out += b"\x98" + value.bytes


def _binary(value: bytes, out: bytearray) -> None:
    _variable(0xA0, value, out)


def _string(value: str, out: bytearray) -> None:
    _variable(0xA1, value.encode(), out)


def _symbol(value: str, out: bytearray) -> None:
    _variable(0xA3, value.encode("ascii"), out)


def _variable(constructor: int, data: bytes, out: bytearray) -> None:
    size = len(data)
    if size < 256:
        out += bytes((constructor, size))
    else:
        out.append(constructor + 0x10)
        out += _pack_u32(size)
    out += data


def _described(value: Described, out: bytearray) -> None:
    out.append(0x00)
    encode(value.descriptor, out)
    encode(value.value, out)


def _list(value: list[object], out: bytearray) -> None:
    if not value:
        out.append(0x45)
        return
    body = bytearray()
    for item in value:
        encode(item, body)
    _compound(0xC0, len(value), body, out)


def _map(value: dict[object, object], out: bytearray) -> None:
    body = bytearray()
    for key, item in value.items():
        encode(key, body)
        encode(item, body)
    _compound(0xC1, 2 * len(value), body, out)


def _compound(constructor: int, count: int, body: bytearray, out: bytearray) -> None:
    size = len(body)
    if size < 255 and count < 256:
        out += bytes((constructor, size + 1, count))
    else:
        out.append(constructor + 0x10)
        out += _pack_u32(size + 4)
        out += _pack_u32(count)
    out += body


def _array(value: Array, out: bytearray) -> None:
    items = value.items
    if not items:
        out += b"\xe0\x02\x00\x40"
        return
    constructor, write = _ARRAY_WRITERS[type(items[0])]
    body = bytearray((constructor,))
    for item in items:
        if type(item) is not type(items[0]):
            raise TypeError("the items of an array have one type")
        body += write(item)
    _compound(0xE0, len(items), body, out)


def _wide_binary(data: bytes) -> bytes:
    return _pack_u32(len(data)) + data


def _wide_string(value: str) -> bytes:
    return _wide_binary(value.encode())


def _uuid_bytes(value: UUID) -> bytes:
    return value.bytes


def _opaque(value: Opaque, out: bytearray) -> None:
    out.append(value.constructor)
    out += value.data


def _raw(value: Raw, out: bytearray) -> None:
    out += value.data


_ARRAY_WRITERS = cast(
    "dict[type, tuple[int, Callable[[object], bytes]]]",
    {
        Long: (0x81, _pack_i64),
        Timestamp: (0x83, _pack_i64),
        UUID: (0x98, _uuid_bytes),
        bytes: (0xB0, _wide_binary),
        str: (0xB1, _wide_string),
        Symbol: (0xB3, _wide_string),
    },
)
_WRITERS = cast(
    "dict[type, Callable[[object, bytearray], None]]",
    {
        type(None): _null,
        bool: _boolean,
        UByte: _ubyte,
        UShort: _ushort,
        UInt: _uint,
        ULong: _ulong,
        Int: _int,
        Long: _long,
        Timestamp: _timestamp,
        float: _double,
        UUID: _uuid,
        bytes: _binary,
        str: _string,
        Symbol: _symbol,
        Described: _described,
        list: _list,
        dict: _map,
        Array: _array,
        Opaque: _opaque,
        Raw: _raw,
    },
)
