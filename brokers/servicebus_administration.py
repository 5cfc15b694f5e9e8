"""The queues of a namespace as they are declared, by the SDK's client for administration."""

from collections.abc import Iterable
from typing import Any, Final, cast

from azure.core.pipeline.transport import RequestsTransport
from azure.servicebus.management import ServiceBusAdministrationClient

from brokers.servicebus_namespace import Told

#: To reach the service, and for an answer of it.
ANSWER_SECONDS: Final = 10

#: What a connection string of an emulator has.
_EMULATED: Final = "usedevelopmentemulator=true"


class _InClear(RequestsTransport):
    """Asks an emulator, which has no certificate; the SDK knows HTTPS alone."""

    def send(self, request: Any, **options: Any) -> Any:
        """Send a request."""
        request.url = request.url.replace("https://", "http://", 1)
        return super().send(request, **options)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def open_administration(told: Told) -> ServiceBusAdministrationClient:
    """Open the client, which asks nothing again by itself; close it after use.

    Parameters:
      told: Where the namespace is, and who asks. The policy of a connection string must have the right
        *Manage*, an identity the role *Azure Service Bus Data Owner*.

    Raises:
      ValueError: It is not said where the namespace is.
    """
    options: dict[str, Any] = {
        "retry_total": 0,
        "connection_timeout": ANSWER_SECONDS,
        "read_timeout": ANSWER_SECONDS,
    }
    if told.connection_string is not None:
        if _EMULATED in told.connection_string.lower():
            options["transport"] = _InClear(use_env_settings=False)
        return ServiceBusAdministrationClient.from_connection_string(told.connection_string, **options)
    if told.namespace is None or told.credential is None:
        raise ValueError("it is not said where the namespace is, or who asks")
    return ServiceBusAdministrationClient(told.namespace, told.credential, **options)


def declared(told: Told) -> dict[str, dict[str, Any]]:
    """Give the queues by name, each with its properties as `queue_properties` names them.

    Raises:
      AzureError: It does not answer, or refuses: who sends and receives may not see this.
    """
    with open_administration(told) as client:
        return {
            queue.name: {
                "LockDuration": f"PT{queue.lock_duration.total_seconds():g}S",
                "MaxDeliveryCount": queue.max_delivery_count,
                "RequiresDuplicateDetection": queue.requires_duplicate_detection,
                "RequiresSession": queue.requires_session,
                "DeadLetteringOnMessageExpiration": queue.dead_lettering_on_message_expiration,
            }
            for queue in cast("Iterable[Any]", client.list_queues())
        }
