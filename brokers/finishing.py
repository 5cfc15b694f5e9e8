"""What is sent because an actor has ended: when it cannot be sent, the message must run again.

Dramatiq runs the middleware that sends the next step of a pipeline, the callback of a group or ``on_success``
after the actor and before the acknowledgement, and only logs what it raises.
"""

import threading
from typing import Any, TypeVar

from dramatiq import Broker, MessageProxy

D = TypeVar("D", bound=MessageProxy)


class _Thread(threading.local):
    message: MessageProxy | None = None


class FinishingBroker(Broker):
    """A broker that knows what each thread is finishing: from an actor's end to the acknowledgement."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._finishing = _Thread()
        super().__init__(*arguments, **options)

    def finishing(self, kind: type[D]) -> D | None:
        """Give the message that this thread is finishing, if it is of a kind."""
        message = self._finishing.message
        return message if isinstance(message, kind) else None

    def emit_before(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell the middleware what is about to happen."""
        if signal == "process_message":
            self._finishing.message = None  # one whose acknowledgement raised is finished, too
        super().emit_before(signal, *args, **kwargs)

    def emit_after(self, signal: str, *args: Any, **kwargs: Any) -> None:
        """Tell the middleware what has happened."""
        if signal == "process_message":
            self._finishing.message = args[0]
        elif signal in {"ack", "nack"}:
            self._finishing.message = None
        super().emit_after(signal, *args, **kwargs)
