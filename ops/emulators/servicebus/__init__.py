"""Azure Service Bus on loopback, for the unmodified ``azure-servicebus``.

Three layers: `codec` (AMQP 1.0 types and frames), `wire` (connection, session, link) and `entities` (what
queues and topics mean), of which the last two know only the first; `nodes` joins them. ``FIDELITY.md`` says
where each behaviour comes from. `Fault` describes what can be made to fail, `control` the API for it.
"""

from ops.emulators.servicebus.access import Policy
from ops.emulators.servicebus.entities.namespace import Declarations, SubscriptionDeclaration
from ops.emulators.servicebus.entities.properties import EntityProperties
from ops.emulators.servicebus.faults import Fault
from ops.emulators.servicebus.namespace_server import NamespaceServer, Options, connection_string
from ops.emulators.servicebus.server import ServiceBusEmulator, main
from ops.emulators.servicebus.wire.ports import Limits

__all__ = [
    "Declarations",
    "EntityProperties",
    "Fault",
    "Limits",
    "NamespaceServer",
    "Options",
    "Policy",
    "ServiceBusEmulator",
    "SubscriptionDeclaration",
    "connection_string",
    "main",
]
