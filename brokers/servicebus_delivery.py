"""Messages that this process holds, and the actor that works on one of them."""

import threading
import time
from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, Any

from dramatiq import Broker, Message, MessageProxy, Middleware, Worker
from dramatiq.middleware import Interrupt, SkipMessage
from dramatiq.threading import raise_thread_exception  # pyright: ignore[reportUnknownVariableType] -- has no types

from brokers.servicebus_wire_receiver import Received

if TYPE_CHECKING:
    from brokers.servicebus_intake import Intake


class MessageLockLost(Interrupt):
    """Raised in an actor whose message is no longer held: another worker runs it too."""


class State(Enum):
    """What has become of a message that came."""

    HELD = "held"
    #: Its retry is being sent.
    MOVING = "moving"
    #: Its retry is on the queue; it must be completed.
    MOVED = "moved"
    #: Its retry could not be sent; it must not be completed.
    RETRY_FAILED = "retry failed"
    #: Somebody else holds it: nothing that is done with it has any effect.
    LOST = "lost"
    #: Acknowledged, rejected or given back.
    SETTLED = "settled"


class Held:
    """A message that came and is not settled yet.

    Parameters:
      received: The message.
      intake: Where it came from, and where it is settled.
    """

    __slots__ = ("__weakref__", "_lock", "_thread", "intake", "locked_until", "received", "state")

    def __init__(self, received: Received, intake: "Intake") -> None:
        self.received = received
        self.intake = intake
        self.locked_until = received.locked_until
        self.state = State.HELD
        self._lock = threading.Lock()
        self._thread: int | None = None

    def __del__(self) -> None:
        """Nobody can settle it any more, as the thread that worked on it has died: its place is free."""
        if self.state is not State.SETTLED:
            self.intake.dropped()

    def started(self) -> bool:
        """Note that the calling thread runs its actor; False when it must not, as another worker does."""
        with self._lock:
            if self.state is State.LOST:
                return False
            self._thread = threading.get_ident()
            return True

    def ended(self) -> None:
        """Note that the actor has ended."""
        with self._lock:
            self._thread = None

    def is_lost(self) -> bool:
        """Tell whether the lock is lost; whoever is told so must be able to rely on it from then on."""
        if time.monotonic() > self.locked_until:  # a process that stood still learns of it here
            self.lose()
        return self.state is State.LOST

    def lose(self) -> None:
        """The lock is lost: interrupt whoever works on the message."""
        with self._lock:
            if self.state in {State.SETTLED, State.LOST}:
                return
            self.state = State.LOST
            if self._thread is not None:
                raise_thread_exception(self._thread, MessageLockLost)


class Delivery(MessageProxy):
    """A message that this process holds, as Dramatiq's threads see it."""

    def __init__(self, message: "Message[Any]", held: Held) -> None:
        super().__init__(message)  # pyright: ignore[reportUnknownMemberType] - typed in part
        self.held = held

    @property
    def exception(self) -> BaseException | None:
        """What the actor raised."""
        return self._exception


class StopReceiving(Middleware):
    """Lets nothing more come as soon as a worker is told to stop.

    Parameters:
      stop: Called then.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop

    def before_worker_shutdown(self, broker: Broker, worker: Worker) -> None:
        """The worker is about to finish what runs."""
        del broker, worker
        self._stop()


class WatchLocks(Middleware):
    """Tells each held message which thread works on it."""

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """The actor is about to run.

        Raises:
          SkipMessage: The message is delivered to another worker.
        """
        del broker
        if isinstance(message, Delivery) and not message.held.started():
            raise SkipMessage("the lock on the message was lost before it ran")

    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """The actor has ended."""
        del broker, result, exception
        if isinstance(message, Delivery):
            message.held.ended()

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """The actor did not run."""
        del broker
        if isinstance(message, Delivery):
            message.held.ended()
