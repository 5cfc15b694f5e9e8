"""The broker that the settings name."""

from collections.abc import Sequence

from dramatiq import Middleware

from brokers.sqlite import SqliteBroker
from brokers.tracing import Tracing
from lightning.crash import CrashPoint, no_crash
from lightning.settings import Settings, refuse_unbuilt


def open_broker(
    settings: Settings,
    middleware: Sequence[Middleware] | None = None,
    *,
    crash: CrashPoint = no_crash,
) -> SqliteBroker:
    """Open the broker of an installation.

    Parameters:
      settings: The settings.
      middleware: What runs around each message; by default only the tracing of what is sent.
      crash: Told of the points around enqueueing and acknowledgement.

    Raises:
      SettingsError: This version has no such broker.
    """
    refuse_unbuilt(settings)
    return SqliteBroker(
        settings.data / "queue.db",
        middleware=[Tracing()] if middleware is None else list(middleware),
        lease_seconds=settings.lease_seconds,
        crashpoint=crash,
    )
