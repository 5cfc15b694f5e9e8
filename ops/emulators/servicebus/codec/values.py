"""The AMQP types that Python has no type of its own for (AMQP 1.0, 1.6).

Decoding gives plain Python numbers, whatever their width on the wire; encoding needs the width, so a number
is wrapped in one of these. Sections of messages are kept as they came, so nothing is lost by it.
"""

from dataclasses import dataclass


class DecodeError(ValueError):
    """The bytes are no AMQP 1.0 (`amqp:decode-error`)."""


class Symbol(str):
    """A name from a constrained domain, in ASCII (1.6.21)."""

    __slots__ = ()


class UByte(int):
    """Unsigned, 8 bits (1.6.3)."""

    __slots__ = ()


class UShort(int):
    """Unsigned, 16 bits (1.6.4)."""

    __slots__ = ()


class UInt(int):
    """Unsigned, 32 bits (1.6.5)."""

    __slots__ = ()


class ULong(int):
    """Unsigned, 64 bits (1.6.6)."""

    __slots__ = ()


class Int(int):
    """Signed, 32 bits (1.6.9)."""

    __slots__ = ()


class Long(int):
    """Signed, 64 bits (1.6.10)."""

    __slots__ = ()


class Timestamp(int):
    """Milliseconds since the Unix epoch (1.6.17)."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it stands for (1.2)."""

    descriptor: object
    value: object


@dataclass(frozen=True, slots=True)
class Array:
    """Values of one type, which is written once (1.6.24).

    All items are of the same class of this module, of `bytes`, `str` or `uuid.UUID`.
    """

    items: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Opaque:
    """A decimal (1.6.13 to 1.6.15), which is carried and never calculated with: constructor and bytes."""

    constructor: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Raw:
    """A value that is encoded already."""

    data: bytes
