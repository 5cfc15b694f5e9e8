"""Carries out a fault on a link."""

from ops.emulators.servicebus.codec.frames import AmqpError
from ops.emulators.servicebus.entities.errors import EntityError, entity_not_found
from ops.emulators.servicebus.faults import Fault
from ops.emulators.servicebus.wire.incoming import IncomingLink
from ops.emulators.servicebus.wire.outgoing import OutgoingLink

FORCED = AmqpError(
    "amqp:connection:forced", "The connection was closed by the broker: a fault was asked for."
)
DETACHED = AmqpError("amqp:link:detach-forced", "The link was detached by the broker: a fault was asked for.")


def breaks(fault: Fault | None, link: IncomingLink | OutgoingLink) -> bool:
    """Break a link as a fault says.

    Returns:
      Whether it did; else the fault, if any, is one of the operation itself.
    """
    if fault is None:
        return False
    if fault.kind == "forced-close":
        link.session.connection.close(FORCED)
    elif fault.kind == "drop":
        link.session.connection.abort()
    elif fault.kind == "detach":
        link.detach(DETACHED)
    else:
        return False
    return True


def refusal(fault: Fault, entity: str) -> EntityError:
    """Give the error that a fault answers an operation with."""
    if fault.kind == "server-busy":
        return EntityError(
            "com.microsoft:server-busy",
            "The request was terminated because the entity is being throttled. Please wait 10 seconds and "
            "try again.",
            503,
        )
    if fault.kind == "unauthorized":
        return EntityError(
            "amqp:unauthorized-access", f"Unauthorized access to '{entity}': a fault was asked for.", 401
        )
    if fault.kind == "not-allowed":
        return EntityError("amqp:not-allowed", "The request is not allowed: a fault was asked for.", 400)
    return entity_not_found(entity)
