"""Gives up messages that are none of ours: they become dead letters, which say why."""

from typing import Any

import dramatiq
from dramatiq import MessageProxy

from lightning.errors import InvalidEvent


class Unreadable(dramatiq.Middleware):
    """Has the broker keep what a worker cannot read, such as a message of a newer version."""

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        """Mark it as failed; whatever else an actor raises ends in the log."""
        del broker, result
        if isinstance(exception, InvalidEvent):
            message.fail()
