"""Frames to connected clients: workers tell the ingress, the ingress its readers."""

from lightning.live.frames import Delta, Notification, RunProgress, read_notification
from lightning.live.hub import Hub
from lightning.live.mailbox import Mailbox
from lightning.live.notify import Notifier
from lightning.live.poll import poll

__all__ = [
    "Delta",
    "Hub",
    "Mailbox",
    "Notification",
    "Notifier",
    "RunProgress",
    "poll",
    "read_notification",
]
