"""A peer's delivery state as a settlement of the queue ("AMQP 1.0 in Azure Service Bus protocol guide")."""

from typing import cast

from ops.emulators.servicebus.codec.decode import leading
from ops.emulators.servicebus.codec.frames import (
    ACCEPTED,
    MODIFIED,
    REJECTED,
    RELEASED,
    TRANSACTIONAL_STATE,
    AmqpError,
)
from ops.emulators.servicebus.codec.outcomes import (
    ACCEPTED_STATE,
    REJECTED_STATE,
    RELEASED_STATE,
    modified,
    rejected,
)
from ops.emulators.servicebus.codec.values import Described
from ops.emulators.servicebus.entities.errors import EntityError, not_emulated
from ops.emulators.servicebus.entities.queue import Queue

REASON, DESCRIPTION = "DeadLetterReason", "DeadLetterErrorDescription"


def settle(queue: Queue, token: bytes, state: Described | None) -> bytes:
    """Settle a delivery.

    Parameters:
      queue: The queue that it came from.
      token: Its delivery tag, which is the lock token.
      state: What the receiver says became of it.

    Returns:
      The state to settle with in answer.

    Raises:
      EntityError: The lock is lost, or the state is no outcome.
    """
    code = ACCEPTED if state is None else state.descriptor
    fields = _fields(None if state is None else state.value)
    if code == ACCEPTED:
        queue.complete(token)
        return ACCEPTED_STATE
    if code == RELEASED:
        queue.release(token)
        return RELEASED_STATE
    if code == MODIFIED:
        return _modify(queue, token, fields)
    if code == REJECTED:
        _reject(queue, token, _fields(fields[0] if fields else None))
        return REJECTED_STATE
    what = "transactions" if code == TRANSACTIONAL_STATE else f"the delivery state {code!r}"
    raise not_emulated(what)


def refused(error: EntityError) -> bytes:
    """Encode why a settlement failed."""
    return rejected(AmqpError(error.condition, error.description))


def _modify(queue: Queue, token: bytes, fields: list[object]) -> bytes:
    has_failed, is_undeliverable, changes = leading(fields, 3)
    properties = _properties(changes)
    if is_undeliverable is True:
        queue.defer(token, properties)
    else:
        queue.abandon(token, properties, has_failed=has_failed is True)
    return modified(delivery_failed=has_failed is True, undeliverable_here=is_undeliverable is True)


def _reject(queue: Queue, token: bytes, error: list[object]) -> None:
    _condition, description, info = leading(error, 3)
    details = _properties(info)
    reason = details.pop(REASON, None)
    explanation = details.pop(DESCRIPTION, None) or description
    queue.dead_letter(token, _text(reason), _text(explanation), details)


def _fields(value: object) -> list[object]:
    if isinstance(value, Described):
        value = value.value
    return cast("list[object]", value) if isinstance(value, list) else []


def _properties(value: object) -> dict[str, object]:
    """Read a map of application properties; keys may be strings or symbols."""
    if not isinstance(value, dict):
        return {}
    return {str(name): item for name, item in cast("dict[object, object]", value).items()}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
