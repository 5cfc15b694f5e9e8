"""Frames to connected clients: workers tell the ingress, the ingress its readers."""

from lightning.live.frames import (
    Delta,
    LiveFrame,
    Notification,
    RunFrame,
    RunLines,
    RunProgress,
    RunStage,
    read_notification,
    run_frames,
)
from lightning.live.hub import Hub
from lightning.live.mailbox import Mailbox
from lightning.live.notify import Notifier
from lightning.live.poll import poll

__all__ = [
    "Delta",
    "Hub",
    "LiveFrame",
    "Mailbox",
    "Notification",
    "Notifier",
    "RunFrame",
    "RunLines",
    "RunProgress",
    "RunStage",
    "poll",
    "read_notification",
    "run_frames",
]
