"""How a delivery ends (AMQP 1.0, 3.4), encoded."""

from ops.emulators.servicebus.codec.encode import encoded
from ops.emulators.servicebus.codec.frames import ACCEPTED, MODIFIED, REJECTED, RELEASED, AmqpError
from ops.emulators.servicebus.codec.values import Described, ULong

ACCEPTED_STATE = encoded(Described(ULong(ACCEPTED), []))
RELEASED_STATE = encoded(Described(ULong(RELEASED), []))
REJECTED_STATE = encoded(Described(ULong(REJECTED), []))


def rejected(error: AmqpError) -> bytes:
    """Encode a rejection with its reason (3.4.3)."""
    return encoded(Described(ULong(REJECTED), [error.described()]))


def modified(*, delivery_failed: bool, undeliverable_here: bool) -> bytes:
    """Encode a modification (3.4.5)."""
    return encoded(Described(ULong(MODIFIED), [delivery_failed, undeliverable_here]))
