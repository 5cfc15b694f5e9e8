"""A stored message: its sections as they came, and what the broker knows about it (AMQP 1.0, 3.2)."""

import struct
from enum import IntEnum
from typing import cast

from ops.emulators.servicebus.codec.decode import decode, leading, skip
from ops.emulators.servicebus.codec.encode import encode, encoded
from ops.emulators.servicebus.codec.values import (
    DecodeError,
    Described,
    Int,
    Long,
    Symbol,
    Timestamp,
    UByte,
    UInt,
)

HEADER, DELIVERY_ANNOTATIONS, MESSAGE_ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = range(0x70, 0x75)
DATA, SEQUENCE, VALUE, FOOTER = range(0x75, 0x79)

SCHEDULED_TIME = "x-opt-scheduled-enqueue-time"
#: Annotations that the broker alone sets; a sender's are dropped.
OWN_ANNOTATIONS = frozenset(
    {
        "x-opt-enqueued-time",
        "x-opt-sequence-number",
        "x-opt-enqueue-sequence-number",
        "x-opt-locked-until",
        "x-opt-lock-token",
        "x-opt-message-state",
        "x-opt-deadletter-source",
        SCHEDULED_TIME,
    }
)

_u32 = struct.Struct(">I")


def _key(name: str) -> bytes:
    return encoded(Symbol(name))


_ENQUEUED = _key("x-opt-enqueued-time") + b"\x83"
_SEQUENCE = _key("x-opt-sequence-number") + b"\x81"
_ENQUEUE_SEQUENCE = _key("x-opt-enqueue-sequence-number") + b"\x81"
_STATE = _key("x-opt-message-state")
_LOCKED_UNTIL = _key("x-opt-locked-until") + b"\x83"
_SCHEDULED = _key(SCHEDULED_TIME) + b"\x83"
_SOURCE = _key("x-opt-deadletter-source")
_LOCK_TOKEN = b"\x00\x53\x71\xc1\x24\x02" + _key("x-opt-lock-token") + b"\x98"
_fixed = struct.Struct(">q").pack


class State(IntEnum):
    """Where a message stands, as ``x-opt-message-state`` says it; a locked message is active."""

    ACTIVE = 0
    DEFERRED = 1
    SCHEDULED = 2


class Message:
    """One message of an entity. Times are in seconds since the Unix epoch.

    Parameters:
      payload: The encoded message, as its sender sent it.

    Raises:
      DecodeError: It is no AMQP message.
    """

    __slots__ = (
        "_annotations",
        "_annotations_count",
        "_durable_priority",
        "application_properties",
        "body",
        "delivery_count",
        "enqueued_at",
        "expires_at",
        "is_gone",
        "lock",
        "locked_until",
        "properties",
        "scheduled_at",
        "sequence",
        "source",
        "state",
        "ttl_ms",
    )

    def __init__(self, payload: bytes) -> None:
        self._annotations = b""
        self._annotations_count = 0
        self._durable_priority = b"\x41\x40"
        self.ttl_ms: int | None = None
        self.properties = b""
        self.application_properties = b""
        self.body = b""
        self.sequence = 0
        self.enqueued_at = 0.0
        self.scheduled_at: float | None = None
        self.expires_at: float | None = None
        self.delivery_count = 0
        self.state = State.ACTIVE
        self.lock: bytes | None = None  #: the lock token in the byte order of a delivery tag
        self.locked_until = 0.0
        self.source: str | None = None
        self.is_gone = False
        self._read(payload)

    def copy(self) -> "Message":
        """Give an equal message of another entity, which no one has received."""
        twin = Message.__new__(Message)
        for name in Message.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.delivery_count = 0
        twin.is_gone = False
        twin.lock = None
        return twin

    def message_id(self) -> object:
        """Give the message-id, or None (3.2.4)."""
        if not self.properties:
            return None
        section, _end = decode(self.properties)
        fields = section.value if isinstance(section, Described) else None
        return cast("list[object]", fields)[0] if isinstance(fields, list) and fields else None

    def content(self) -> bytes:
        """Encode what its sender said, without what the broker knows."""
        out = bytearray(self._header(None))
        if self._annotations_count:
            size = _u32.pack(len(self._annotations) + 4) + _u32.pack(self._annotations_count)
            out += b"\x00\x53\x72\xd1" + size + self._annotations
        return b"".join((out, self.properties, self.application_properties, self.body))

    def encode(self) -> bytes:
        """Encode it as it is delivered."""
        enqueued = self.scheduled_at if self.state is State.SCHEDULED else self.enqueued_at
        parts = [
            self._annotations,
            _ENQUEUED,
            _fixed(int((enqueued or 0.0) * 1000)),
            _SEQUENCE,
            _fixed(self.sequence),
            _ENQUEUE_SEQUENCE,
            _fixed(self.sequence),
            _STATE,
            bytes((0x54, self.state)),
        ]
        count = self._annotations_count + 8
        lock = b""
        if self.lock is not None:
            lock = _LOCK_TOKEN + swapped(self.lock)
            parts += (_LOCKED_UNTIL, _fixed(int(self.locked_until * 1000)))
            count += 2
        if self.scheduled_at is not None:
            parts += (_SCHEDULED, _fixed(int(self.scheduled_at * 1000)))
            count += 2
        if self.source is not None:
            parts += (_SOURCE, encoded(self.source))
            count += 2
        body = b"".join(parts)
        annotations = b"\x00\x53\x72\xd1" + _u32.pack(len(body) + 4) + _u32.pack(count)
        return b"".join(
            (
                self._header(self.delivery_count),
                lock,
                annotations,
                body,
                self.properties,
                self.application_properties,
                self.body,
            )
        )

    def encode_peeked(self) -> bytes:
        """Encode it as it is peeked: who holds it is nobody else's business."""
        lock, self.lock = self.lock, None
        try:
            return self.encode()
        finally:
            self.lock = lock

    def set_properties(self, changes: dict[str, object]) -> None:
        """Set application properties; the others stay as they are."""
        entries = _entries(self.application_properties) if self.application_properties else {}
        for name, value in changes.items():
            entries[name] = encoded(name) + encoded(typed(value))
        body = b"".join(entries.values())
        size = _u32.pack(len(body) + 4) + _u32.pack(2 * len(entries))
        self.application_properties = b"\x00\x53\x74\xd1" + size + body

    def _header(self, delivery_count: int | None) -> bytes:
        fields = bytearray(self._durable_priority)
        encode(None if self.ttl_ms is None else UInt(self.ttl_ms), fields)
        count = 3
        if delivery_count is not None:
            fields.append(0x40)
            encode(UInt(delivery_count), fields)
            count = 5
        return b"\x00\x53\x70\xc0" + bytes((len(fields) + 1, count)) + fields

    def _read(self, payload: bytes) -> None:
        position, last, total = 0, 0, len(payload)
        while position < total:
            code = section_code(payload, position)
            if code < last or code > FOOTER:
                raise DecodeError(f"section {code:#04x} stands where the message format has none")
            last = code
            if code >= DATA:
                self.body = payload[position:]
                _check_body(payload, position)
                break
            end = skip(payload, position)
            if code == HEADER:
                self._read_header(payload, position)
            elif code == MESSAGE_ANNOTATIONS:
                self._read_annotations(payload[position:end])
            elif code == PROPERTIES:
                self.properties = payload[position:end]
            elif code == APPLICATION_PROPERTIES:
                self.application_properties = payload[position:end]
            position = end

    def _read_header(self, payload: bytes, position: int) -> None:
        section, _end = decode(payload, position)
        fields = cast("list[object]", section.value) if isinstance(section, Described) else []
        durable, priority, ttl = leading(fields, 3)
        self._durable_priority = encoded(True if durable is None else durable) + encoded(
            UByte(priority) if isinstance(priority, int) else None
        )
        if isinstance(ttl, int):
            self.ttl_ms = ttl

    def _read_annotations(self, section: bytes) -> None:
        entries = _entries(section)
        scheduled = entries.get(SCHEDULED_TIME)
        if scheduled is not None:
            value, _end = decode(scheduled, skip(scheduled, 0))
            if isinstance(value, int):
                self.scheduled_at = value / 1000
        kept = [entry for name, entry in entries.items() if name not in OWN_ANNOTATIONS]
        self._annotations = b"".join(kept)
        self._annotations_count = 2 * len(kept)


def swapped(token: bytes) -> bytes:
    """Turn a token's bytes from a delivery tag's order into a UUID's, or back."""
    return token[3::-1] + token[5:3:-1] + token[7:5:-1] + token[8:]


def split_batch(payload: bytes) -> list[bytes]:
    """Cut a batch (message format 0x80013700) into its messages, one a data section.

    Raises:
      DecodeError: It is no batch.
    """
    messages: list[bytes] = []
    position = 0
    while position < len(payload):
        if section_code(payload, position) == DATA:
            section, position = decode(payload, position)
            if not isinstance(section, Described) or not isinstance(section.value, bytes):
                raise DecodeError("a batch holds binary data")
            messages.append(section.value)
        else:
            position = skip(payload, position)
    if not messages:
        raise DecodeError("a batch holds at least one message")
    return messages


def typed(value: object) -> object:
    """Give a decoded number an AMQP type again; other values have theirs."""
    if isinstance(value, int) and type(value) is int:
        return Int(value) if -(2**31) <= value < 2**31 else Long(value)
    return value


def milliseconds(seconds: float) -> Timestamp:
    """Give a time as AMQP does."""
    return Timestamp(int(seconds * 1000))


def section_code(payload: bytes, position: int) -> int:
    """Give the descriptor of the section at a position.

    Raises:
      DecodeError: There is no section.
    """
    if payload[position : position + 2] == b"\x00\x53" and len(payload) > position + 2:
        return payload[position + 2]
    if payload[position : position + 2] == b"\x00\x80" and len(payload) >= position + 10:
        return int.from_bytes(payload[position + 2 : position + 10])
    raise DecodeError("a message is a row of sections")


def _check_body(payload: bytes, position: int) -> None:
    while position < len(payload):
        code = section_code(payload, position)
        if not DATA <= code <= FOOTER:
            raise DecodeError(f"section {code:#04x} stands after the body")
        position = skip(payload, position)


def _entries(section: bytes) -> dict[str, bytes]:
    """Cut a map section into its entries' bytes, by key."""
    position = skip(section, 1)
    constructor = section[position]
    if constructor not in {0xC1, 0xD1}:
        raise DecodeError("a section of annotations or properties is a map")
    position += 3 if constructor == 0xC1 else 9
    entries: dict[str, bytes] = {}
    while position < len(section):
        key, value_at = decode(section, position)
        end = skip(section, value_at)
        if not isinstance(key, str):
            raise DecodeError("a key of annotations or properties is a name")
        entries[key] = section[position:end]
        position = end
    return entries
