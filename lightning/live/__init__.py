"""Frames to connected clients: workers nudge the ingress, the ingress wakes its readers."""

from lightning.live.hub import Hub
from lightning.live.notify import Notifier, read_notification

__all__ = ["Hub", "Notifier", "read_notification"]
