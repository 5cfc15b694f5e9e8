"""Bytes to values (AMQP 1.0, part 1), with bounds on depth and counts that a peer could misuse."""

import struct
from collections.abc import Callable
from uuid import UUID

from ops.emulators.servicebus.codec.values import DecodeError, Described, Opaque, Symbol

#: How deep values may be nested.
MAX_DEPTH = 32
#: How many items a compound may have; items of width zero make a count that no size bounds.
MAX_COUNT = 65_536

Reader = Callable[[bytes, int, int], tuple[object, int]]

_u32 = struct.Struct(">I").unpack_from
_BOUNDS = (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError, OverflowError)


def decode(data: bytes, position: int = 0) -> tuple[object, int]:
    """Read the value at a position.

    Parameters:
      data: AMQP data.
      position: Where the value's constructor stands.

    Returns:
      The value and the position after it.

    Raises:
      DecodeError: There is no well-formed value.
    """
    try:
        value, end = _read(data, position, 0)
    except DecodeError:
        raise
    except _BOUNDS as error:
        raise DecodeError(f"no AMQP value at byte {position}: {error}") from error
    if end > len(data):
        raise DecodeError(f"the AMQP value at byte {position} ends after its data")
    return value, end


def skip(data: bytes, position: int) -> int:
    """Give the position after a value without reading it.

    Raises:
      DecodeError: There is no value, or it ends after the data.
    """
    try:
        constructor = data[position]
        position += 1
        while constructor == 0x00:
            position = skip(data, position)
            constructor = data[position]
            position += 1
        family = constructor >> 4
        if family in _WIDTHS:
            end = position + _WIDTHS[family]
        elif family in {0xA, 0xC, 0xE}:
            end = position + 1 + data[position]
        elif family in {0xB, 0xD, 0xF}:
            end = position + 4 + _u32(data, position)[0]
        else:
            raise DecodeError(f"{constructor:#04x} is no AMQP constructor")
    except (IndexError, struct.error, RecursionError) as error:
        raise DecodeError("an AMQP value is cut off") from error
    if end > len(data):
        raise DecodeError("an AMQP value ends after its data")
    return end


def leading(fields: list[object], count: int) -> list[object]:
    """Give the first fields of a composite; those left out at its end are null (1.4)."""
    return [*fields[:count], *[None] * (count - len(fields))]


def _read(data: bytes, position: int, depth: int) -> tuple[object, int]:
    constructor = data[position]
    reader = _READERS[constructor]
    if reader is None:
        raise DecodeError(f"{constructor:#04x} is no AMQP constructor")
    return reader(data, position + 1, depth)


def _constant(value: object) -> Reader:
    return lambda _data, position, _depth: (value, position)


def _empty_list(_data: bytes, position: int, _depth: int) -> tuple[object, int]:
    return [], position


def _fixed(form: str) -> Reader:
    read = struct.Struct(form)
    unpack, width = read.unpack_from, read.size
    return lambda data, position, _depth: (unpack(data, position)[0], position + width)


def _octet(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    return data[position], position + 1


def _boolean(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    return data[position] == 1, position + 1


def _char(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    return chr(_u32(data, position)[0]), position + 4


def _uuid(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    return UUID(bytes=data[position : position + 16]), position + 16


def _opaque(constructor: int, width: int) -> Reader:
    return lambda data, position, _depth: (
        Opaque(constructor, data[position : position + width]),
        position + width,
    )


def _binary8(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 1
    end = start + data[position]
    return data[start:end], end


def _binary32(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 4
    end = start + _u32(data, position)[0]
    return data[start:end], end


def _string8(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 1
    end = start + data[position]
    return data[start:end].decode(), end


def _string32(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 4
    end = start + _u32(data, position)[0]
    return data[start:end].decode(), end


def _symbol8(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 1
    end = start + data[position]
    return Symbol(data[start:end].decode("ascii")), end


def _symbol32(data: bytes, position: int, _depth: int) -> tuple[object, int]:
    start = position + 4
    end = start + _u32(data, position)[0]
    return Symbol(data[start:end].decode("ascii")), end


def _described(data: bytes, position: int, depth: int) -> tuple[object, int]:
    depth = _deeper(depth)
    descriptor, position = _read(data, position, depth)
    value, position = _read(data, position, depth)
    return Described(descriptor, value), position


def _list8(data: bytes, position: int, depth: int) -> tuple[object, int]:
    return _items(data, position + 2, data[position + 1], depth)


def _list32(data: bytes, position: int, depth: int) -> tuple[object, int]:
    return _items(data, position + 8, _u32(data, position + 4)[0], depth)


def _items(data: bytes, position: int, count: int, depth: int) -> tuple[list[object], int]:
    depth = _deeper(depth)
    if count > MAX_COUNT:
        raise DecodeError(f"a compound of {count} items is more than {MAX_COUNT}")
    values: list[object] = []
    add, readers = values.append, _READERS
    for _ in range(count):
        reader = readers[data[position]]
        if reader is None:
            raise DecodeError(f"{data[position]:#04x} is no AMQP constructor")
        value, position = reader(data, position + 1, depth)
        add(value)
    return values, position


def _map8(data: bytes, position: int, depth: int) -> tuple[object, int]:
    return _pairs(*_items(data, position + 2, data[position + 1], depth))


def _map32(data: bytes, position: int, depth: int) -> tuple[object, int]:
    return _pairs(*_items(data, position + 8, _u32(data, position + 4)[0], depth))


def _pairs(items: list[object], position: int) -> tuple[object, int]:
    if len(items) % 2:
        raise DecodeError("a map has a key without a value")
    return dict(zip(items[::2], items[1::2], strict=True)), position


def _array8(data: bytes, position: int, depth: int) -> tuple[object, int]:
    return _array(data, position + 2, data[position + 1], position + 1 + data[position], depth)


def _array32(data: bytes, position: int, depth: int) -> tuple[object, int]:
    end = position + 4 + _u32(data, position)[0]
    return _array(data, position + 8, _u32(data, position + 4)[0], end, depth)


def _array(data: bytes, position: int, count: int, end: int, depth: int) -> tuple[object, int]:
    depth = _deeper(depth)
    if count > MAX_COUNT:
        raise DecodeError(f"an array of {count} items is more than {MAX_COUNT}")
    descriptor: object = None
    constructor = data[position]
    position += 1
    is_described = constructor == 0x00
    if is_described:
        descriptor, position = _read(data, position, depth)
        constructor = data[position]
        position += 1
    reader = _READERS[constructor]
    if reader is None:
        raise DecodeError(f"{constructor:#04x} is no AMQP constructor")
    values: list[object] = []
    for _ in range(count):
        value, position = reader(data, position, depth)
        values.append(Described(descriptor, value) if is_described else value)
    if count and position != end:
        raise DecodeError("an array does not fill its size")
    return values, end


def _deeper(depth: int) -> int:
    if depth >= MAX_DEPTH:
        raise DecodeError(f"AMQP values are nested deeper than {MAX_DEPTH}")
    return depth + 1


#: Bytes after the constructor, by its upper half (1.2.1).
_WIDTHS = {0x4: 0, 0x5: 1, 0x6: 2, 0x7: 4, 0x8: 8, 0x9: 16}
_BY_CONSTRUCTOR: dict[int, Reader] = {
    0x00: _described,
    0x40: _constant(None),
    0x41: _constant(value=True),
    0x42: _constant(value=False),
    0x43: _constant(0),
    0x44: _constant(0),
    0x45: _empty_list,
    0x50: _octet,
    0x51: _fixed(">b"),
    0x52: _octet,
    0x53: _octet,
    0x54: _fixed(">b"),
    0x55: _fixed(">b"),
    0x56: _boolean,
    0x60: _fixed(">H"),
    0x61: _fixed(">h"),
    0x70: _fixed(">I"),
    0x71: _fixed(">i"),
    0x72: _fixed(">f"),
    0x73: _char,
    0x74: _opaque(0x74, 4),
    0x80: _fixed(">Q"),
    0x81: _fixed(">q"),
    0x82: _fixed(">d"),
    0x83: _fixed(">q"),
    0x84: _opaque(0x84, 8),
    0x94: _opaque(0x94, 16),
    0x98: _uuid,
    0xA0: _binary8,
    0xA1: _string8,
    0xA3: _symbol8,
    0xB0: _binary32,
    0xB1: _string32,
    0xB3: _symbol32,
    0xC0: _list8,
    0xC1: _map8,
    0xD0: _list32,
    0xD1: _map32,
    0xE0: _array8,
    0xF0: _array32,
}
_READERS: list[Reader | None] = [_BY_CONSTRUCTOR.get(constructor) for constructor in range(256)]
