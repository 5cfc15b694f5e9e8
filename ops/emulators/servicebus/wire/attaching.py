"""Reading and answering an attach (AMQP 1.0, 2.7.3, 3.5.3 and 3.5.4)."""

from typing import cast

from ops.emulators.servicebus.codec.frames import COORDINATOR, SOURCE, TARGET, Frame, raw_fields
from ops.emulators.servicebus.codec.values import Described, Raw, Symbol, UByte, UInt, ULong
from ops.emulators.servicebus.wire.ports import NO_TRANSACTIONS, Attach, WireError, wire_error

SETTLED = 1  #: snd-settle-mode: all deliveries are sent settled


def read_attach(received: Frame) -> Attach:
    """Read what a peer asks for.

    Raises:
      WireError: It is incomplete, or asks for a transaction coordinator.
    """
    name, role = received.field(0), received.field(2)
    if not isinstance(name, str) or not isinstance(role, bool):
        raise wire_error("amqp:invalid-field", "an attach needs a name and a role")
    target = received.field(6)
    if isinstance(target, Described) and target.descriptor == COORDINATOR:
        raise WireError(NO_TRANSACTIONS)
    source_address, filters = _terminus(received.field(5), SOURCE)
    target_address, _ = _terminus(target, TARGET)
    address, other = (source_address, target_address) if role else (target_address, source_address)
    if not address:
        raise wire_error("amqp:invalid-field", "an attach needs the address of a node")
    return Attach(
        name=name,
        address=address,
        reply_to=other,
        is_receiver=role,
        is_settled=role and received.number(3, 2) == SETTLED,
        filters=filters,
    )


def attach_fields(received: Frame, *, limit: ULong | None) -> list[object]:
    """Answer an attach: the peer's terms, with our side's role.

    Parameters:
      received: The peer's attach.
      limit: Bytes that a message may have; None: the link is refused and has no terminus of ours.

    Returns:
      The fields of the attach.
    """
    peer_receives = received.field(2) is True
    raw = raw_fields(received.performative)
    source, target = (Raw(raw[index]) if index < len(raw) else None for index in (5, 6))
    if limit is None:
        source, target = (None, target) if peer_receives else (source, None)
    batch_limit = None if limit is None else {Symbol("com.microsoft:max-message-batch-size"): limit}
    return [
        received.field(0),
        UInt(received.number(1)),
        not peer_receives,
        UByte(received.number(3, 2)),
        UByte(received.number(4, 0)),
        *(source, target, None, None),
        UInt(0) if peer_receives else None,
        limit,
        *(None, None),
        None if peer_receives else batch_limit,
    ]


def _terminus(value: object, descriptor: int) -> tuple[str, tuple[str, ...]]:
    """Give the address and the filters that are set, by name."""
    if not isinstance(value, Described) or not isinstance(value.value, list):
        return "", ()
    if value.descriptor != descriptor:
        raise wire_error("amqp:invalid-field", f"a terminus has the descriptor {value.descriptor!r}")
    fields = cast("list[object]", value.value)
    address = fields[0] if fields else None
    filters = fields[7] if descriptor == SOURCE and len(fields) > 7 else None
    names = cast("dict[object, object]", filters) if isinstance(filters, dict) else {}
    return (
        address if isinstance(address, str) else "",
        tuple(str(name) for name, wanted in names.items() if wanted is not None),
    )
