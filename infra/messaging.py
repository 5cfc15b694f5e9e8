"""The Service Bus namespace and the queues, as the code wants them."""

from dataclasses import dataclass
from typing import Final

import pulumi
from pulumi_azure_native import servicebus

from infra.identities import Identity, allow
from infra.network import Network, make_endpoint
from infra.place import Place
from infra.platform import platform

#: For programs beside the platform, which neither sends to it nor reads from it: events go out by webhooks.
TOPIC: Final = "lightning-events"


@dataclass(frozen=True, slots=True)
class Messaging:
    """The queues of a region.

    Parameters:
      id: The id of the namespace.
      host: Its host name.
      queues: The id of each queue.
    """

    id: pulumi.Output[str]
    host: str
    queues: dict[str, pulumi.Output[str]]


def make_messaging(net: Network) -> Messaging:
    """Make the namespace, every queue of `platform.json`, and an empty topic."""
    place, size = net.place, net.place.parameters.size
    is_premium = size.bus == "Premium"
    namespace = servicebus.Namespace(
        place.logical("bus"),
        resource_group_name=place.group.name,
        namespace_name=place.name("bus"),
        location=place.location,
        sku=servicebus.SBSkuArgs(
            name=servicebus.SkuName(size.bus),
            tier=servicebus.SkuTier(size.bus),
            capacity=size.messaging_units if is_premium else None,
        ),
        disable_local_auth=True,
        minimum_tls_version="1.2",
        public_network_access="Disabled" if size.private else "Enabled",
        tags=place.tags,
    )
    queues = {name: _queue(place, namespace, name) for name in platform()["queues"]}
    servicebus.Topic(
        place.logical("topic"),
        resource_group_name=place.group.name,
        namespace_name=namespace.name,
        topic_name=TOPIC,
        requires_duplicate_detection=False,
        max_size_in_megabytes=5120,
    )
    if size.private:
        make_endpoint(net, "bus", namespace.id, "namespace", "privatelink.servicebus.windows.net")
    return Messaging(namespace.id, f"{place.name('bus')}.servicebus.windows.net", queues)


def allow_messages(place: Place, messaging: Messaging, process: str, identity: Identity) -> None:
    """Let a process send to all queues, and receive from them.

    The ingress takes nothing from a queue, but looks at each to tell operators how many messages wait there;
    there is no role that may look and not receive.
    """
    for role in ("Sender", "Receiver"):
        allow(place, process, identity, f"Azure Service Bus Data {role}", "bus", messaging.id)


def _queue(place: Place, namespace: servicebus.Namespace, name: str) -> pulumi.Output[str]:
    wanted = platform()["queue"]
    queue = servicebus.Queue(
        place.logical(f"queue-{name}"),
        resource_group_name=place.group.name,
        namespace_name=namespace.name,
        queue_name=name,
        lock_duration=wanted["LockDuration"],
        max_delivery_count=wanted["MaxDeliveryCount"],
        requires_duplicate_detection=wanted["RequiresDuplicateDetection"],
        requires_session=wanted["RequiresSession"],
        dead_lettering_on_message_expiration=wanted["DeadLetteringOnMessageExpiration"],
        max_size_in_megabytes=5120,
    )
    return queue.id
