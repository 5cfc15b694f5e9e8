"""The Service Bus namespace: where it is, how we authenticate, and links into it."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, cast

import certifi
from azure.servicebus import ServiceBusReceiveMode, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient

from brokers.servicebus_wire_management import ManagementLink
from brokers.servicebus_wire_receiver import Received, ReceiverLink
from brokers.servicebus_wire_sender import SenderLink
from lightning.azure_identity import AsyncIdentity, own_identity
from lightning.keys import secret
from lightning.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

#: The port of AMQP over TLS.
AMQPS_PORT = 5671


@dataclass(frozen=True, slots=True)
class Told:
    """Where a namespace is and who asks, as the settings say it.

    Parameters:
      connection_string: As the portal shows it.
      namespace: Instead of it, the host name.
      credential: With the host name: who asks.
    """

    connection_string: str | None = field(repr=False)
    namespace: str | None
    credential: "TokenCredential | None"


def told_by(settings: Settings) -> Told:
    """Read the settings; a connection string goes before a host name."""
    connection_string = secret(settings.servicebus_connection)
    if connection_string is not None:
        return Told(connection_string, None, None)
    identity = own_identity(settings.identity, settings.azure_client_id)
    return Told(None, settings.servicebus_namespace, identity)


class Namespace:
    """Opens links; use it on one event loop alone.

    Parameters:
      connection_string: As the portal shows it; None to use an identity.
      namespace: Instead of it, the host name, such as ``name.servicebus.windows.net``.
      credential: With the host name: who asks, a ``TokenCredential`` of azure-core.

    Raises:
      ValueError: Neither or both of connection string and namespace are given, or it cannot be read, or
        there is a namespace and no credential.
    """

    def __init__(
        self,
        connection_string: str | None,
        namespace: str | None = None,
        *,
        credential: "TokenCredential | None" = None,
    ) -> None:
        nobody_asks = namespace is not None and credential is None
        if (connection_string is None) == (namespace is None) or nobody_asks:
            raise ValueError("give either connection_string or namespace and credential")
        self._connection_string = connection_string
        self._namespace = namespace
        self._credential = credential
        self._client: ServiceBusClient | None = None
        self.host, self.port = address_of(connection_string, namespace)

    def sender(self, queue_name: str) -> SenderLink:
        """Make a link that sends to a queue; open it before use."""
        return SenderLink(self._sdk().get_queue_sender(queue_name, keep_alive=0))

    def receiver(
        self, queue_name: str, on_received: Callable[[Received], None], *, dead_letters: bool = False
    ) -> ReceiverLink:
        """Make a link that receives from a queue, or from its dead letters; open it before use."""
        return ReceiverLink(self._receiver(queue_name, dead_letters=dead_letters), on_received)

    def management(self, queue_name: str, *, dead_letters: bool = False) -> ManagementLink:
        """Make a link for requests about a queue's messages; open it before use."""
        return ManagementLink(self._receiver(queue_name, dead_letters=dead_letters))

    def _receiver(self, queue_name: str, *, dead_letters: bool) -> Any:
        return self._sdk().get_queue_receiver(
            queue_name,
            sub_queue=ServiceBusSubQueue.DEAD_LETTER if dead_letters else None,
            receive_mode=ServiceBusReceiveMode.PEEK_LOCK,
            prefetch_count=1,  # none at all would make the SDK give back what it did not ask for itself
            keep_alive=0,
        )

    def _sdk(self) -> ServiceBusClient:
        if self._client is None:
            options: dict[str, Any] = {"retry_total": 0, "ssl_context": _authorities()}
            if self._connection_string is not None:
                self._client = ServiceBusClient.from_connection_string(self._connection_string, **options)
            else:
                # in a thread: its asynchronous twin needs another HTTP library
                identity: Any = AsyncIdentity(cast("TokenCredential", self._credential))
                self._client = ServiceBusClient(str(self._namespace), identity, **options)
        return self._client


@cache
def _authorities() -> ssl.SSLContext:
    """Give what the SDK would make for every connection, with TLS or without: that takes 20 ms of a core.

    Those of HTTP, which `lightning.tls` gives, are not shared: their connections offer HTTP by ALPN.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certifi.where())
    return context


def address_of(connection_string: str | None, namespace: str | None) -> tuple[str, int]:
    """Give host and port of a namespace.

    Raises:
      ValueError: There is no endpoint in the connection string, or it is that of one queue.
    """
    if connection_string is None:
        return str(namespace), AMQPS_PORT
    parts = dict(part.split("=", 1) for part in connection_string.split(";") if "=" in part)
    fields = {name.strip().lower(): value for name, value in parts.items()}
    endpoint = fields.get("endpoint")
    if "entitypath" in fields:
        raise ValueError(
            "the Service Bus connection string is that of one queue (EntityPath=...), and more are used: "
            "give the one of the namespace, under Shared access policies"
        )
    if endpoint is None:
        raise ValueError("the Service Bus connection string has no Endpoint=sb://...")
    address = endpoint.strip().partition("//")[2].strip("/")
    host, _, port = address.partition(":")
    return host, int(port) if port.isdecimal() else AMQPS_PORT
