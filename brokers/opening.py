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
    from brokers.servicebus_namespace import address_of, told_by  # noqa: PLC0415

    told = told_by(settings)
    host, port = address_of(told.connection_string, told.namespace)
    return ServiceBusBroker(
        told.connection_string,
        namespace=told.namespace,
        credential=told.credential,
        middleware=[Tracing(system="servicebus", server_address=host, server_port=port), *middleware],
        crashpoint=crash,
    )
