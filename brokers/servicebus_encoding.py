"""What is sent to a queue, in bytes: messages, batches of them, and the frames that carry those.

These are the bytes that the SDK would send. It makes them value by value, out of objects that are made for
it, which takes more of a sender's time than everything else together.

Source: OASIS AMQP 1.0, 1.6 (values), 2.3 and 2.7.5 (frames, transfer), 3.2 (message sections); Microsoft,
"AMQP 1.0 in Azure Service Bus and Event Hubs protocol guide" (annotations, batches).
"""

import struct
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

#: The message-format of a message whose data sections are messages.
_BATCH_FORMAT: Final = 0x80013700

#: What Service Bus takes, in characters.
MAX_MESSAGE_ID: Final = 128

_NULL, _TRUE, _FALSE = b"\x40", b"\x41", b"\x42"
_BINARY, _STRING, _SYMBOL = 0xA0, 0xA1, 0xA3
_ANNOTATIONS, _PROPERTIES, _DATA = b"\x00\x53\x72", b"\x00\x53\x73", b"\x00\x53\x75"
_DUE_LATER: Final = b"\xc1\x28\x02\xa3\x1cx-opt-scheduled-enqueue-time\x83"
_JSON: Final = b"\xa3\x10application/json"

_timestamp = struct.Struct(">q").pack
_length = struct.Struct(">I").pack
_size_and_count = struct.Struct(">II").pack

#: A transfer: frame header, descriptor, and a list of handle, delivery-id, delivery-tag, message-format,
#: settled and more.
_TRANSFER: Final = struct.Struct(">IBBH 3sBBB BI BI BBI BI cc")
_TRANSFER_FIELDS_SIZE: Final = _TRANSFER.size - 8 - 3 - 2


def encode_message(body: bytes, message_id: str, due: datetime | None) -> bytes:
    """Encode a message.

    Parameters:
      body: What the receiver gets.
      message_id: What duplicate detection compares.
      due: When it becomes visible; None is now.

    Raises:
      ValueError: The id is too long.
    """
    if len(message_id) > MAX_MESSAGE_ID:
        raise ValueError(
            f"Service Bus takes ids of at most {MAX_MESSAGE_ID} characters; this is too long: {message_id}"
        )
    annotations = b""
    if due is not None:
        annotations = _ANNOTATIONS + _DUE_LATER + _timestamp(int(due.timestamp() * 1000))
    properties = _properties(message_id, _NULL * 5 + _JSON + _NULL * 6)
    return annotations + properties + _data(body)


def encode_batch(messages: Iterable[bytes], message_id: str) -> bytes:
    """Encode a batch of encoded messages."""
    return _properties(message_id, _NULL * 12) + b"".join(map(_data, messages))


def transfers(
    batch: bytes, *, channel: int, handle: int, delivery_id: int, tag: int, max_frame: int
) -> Iterator[bytes]:
    """Divide an encoded batch among transfer frames.

    Parameters:
      batch: The batch.
      channel: Of the session.
      handle: Of the link.
      delivery_id: Names the delivery in the session.
      tag: Names it on the link.
      max_frame: Bytes that the other side takes in one frame.
    """
    room = max_frame - _TRANSFER.size
    for start in range(0, len(batch), room):
        part = batch[start : start + room]
        is_last = start + room >= len(batch)
        head = _TRANSFER.pack(
            *(_TRANSFER.size + len(part), 2, 0, channel),
            *(b"\x00\x53\x14", 0xC0, _TRANSFER_FIELDS_SIZE + 1, 6),
            *(0x70, handle, 0x70, delivery_id),
            *(_BINARY, 4, tag, 0x70, _BATCH_FORMAT),
            *(_FALSE, _FALSE if is_last else _TRUE),
        )
        yield head + part


def _properties(message_id: str, others: bytes) -> bytes:
    """Encode the properties of a message: its id, and the 12 fields behind it."""
    fields = _variable(_STRING, message_id.encode()) + others
    if len(fields) < 0xFF:
        return _PROPERTIES + bytes((0xC0, len(fields) + 1, 13)) + fields
    return _PROPERTIES + b"\xd0" + _size_and_count(len(fields) + 4, 13) + fields


def _data(content: bytes) -> bytes:
    return _DATA + _variable(_BINARY, content)


def _variable(constructor: int, content: bytes) -> bytes:
    size = len(content)
    if size <= 0xFF:
        return bytes((constructor, size)) + content
    return bytes((constructor + 0x10,)) + _length(size) + content
