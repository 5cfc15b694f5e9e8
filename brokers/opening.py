"""The broker that the settings name, and the tracing of what it carries."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Union

from dramatiq import Middleware

from brokers.sqlite import SqliteBroker
from brokers.tracing import Tracing
from lightning.crash import CrashPoint, no_crash
from lightning.settings import Settings

if TYPE_CHECKING:
    from brokers.servicebus import ServiceBusBroker

AnyBroker = Union[SqliteBroker, "ServiceBusBroker"]


def open_broker(
    settings: Settings,
    middleware: Sequence[Middleware] = (),
    *,
    crash: CrashPoint = no_crash,
) -> AnyBroker:
    """Open the broker of an installation; it connects when it is used.

    Parameters:
      settings: The settings.
      middleware: What runs around each message, besides tracing.
      crash: Told of the points around enqueueing and acknowledgement.
    """
    if settings.broker == "servicebus":
        return _servicebus(settings, middleware, crash)
    return SqliteBroker(
        settings.data / "queue.db",
        middleware=[Tracing(), *middleware],
        lease_seconds=settings.lease_seconds,
        crashpoint=crash,
    )


def _servicebus(
    settings: Settings, middleware: Sequence[Middleware], crash: CrashPoint
) -> "ServiceBusBroker":
    # The SDK takes long to import, and most installations of one machine never use it.
    from brokers.servicebus import ServiceBusBroker  # noqa: PLC0415
    from brokers.servicebus_namespace import address_of  # noqa: PLC0415
    from lightning.azure_identity import own_identity  # noqa: PLC0415

    secret = settings.servicebus_connection
    connection_string = None if secret is None else secret.get_secret_value()
    host, port = address_of(connection_string, settings.servicebus_namespace)
    return ServiceBusBroker(
        connection_string,
        namespace=settings.servicebus_namespace if connection_string is None else None,
        credential=own_identity(settings.identity, settings.azure_client_id) if secret is None else None,
        middleware=[Tracing(system="servicebus", server_address=host, server_port=port), *middleware],
        crashpoint=crash,
    )
