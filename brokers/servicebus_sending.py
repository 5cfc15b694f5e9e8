"""What is enqueued on queues of Service Bus: handed to the loop, answered, and no retry lost."""

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from secrets import token_hex
from typing import Any

from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from brokers.servicebus_delivery import Delivery, Held, State
from brokers.servicebus_engine import Engine
from brokers.servicebus_faults import as_broker_error
from brokers.servicebus_outbox import Order, split
from brokers.servicebus_wire_sender import MAX_BATCH_BYTES, Encoded, encode, utc

_logger = logging.getLogger(__name__)


class Sending:
    """Sends messages from the threads of Dramatiq.

    A retry is sent before its original is completed, so whether it was sent is noted on what is held.

    Parameters:
      started: Gives the engine, which it starts if there is none.
      timeout_seconds: How long a sender waits.
      crash: Called at the points named in `ServiceBusBroker`.
    """

    def __init__(
        self, started: Callable[[], Engine], timeout_seconds: float, crash: Callable[[str], None]
    ) -> None:
        self._started = started
        self._timeout_seconds = timeout_seconds
        self._crash = crash
        self._held: weakref.WeakValueDictionary[str, Delivery] = weakref.WeakValueDictionary()

    def hold(self, delivery: Delivery) -> None:
        """Know a delivery whose retry may be sent."""
        self._held[delivery.message_id] = delivery

    def retried(self, message: Any) -> Held | None:
        """What we hold that a message is the retry of.

        That is the delivery itself (Retries sends it) or a copy with the same identity and arguments.
        """
        if isinstance(message, Delivery):
            held = message.held
        else:
            delivery = self._held.get(message.message_id)
            if delivery is None or message.args is not delivery.args or message.kwargs is not delivery.kwargs:
                return None
            held = delivery.held
        return None if held.state in {State.MOVED, State.SETTLED} else held

    def send(
        self, messages: "Sequence[tuple[Message[Any], int | None]]", retried: Sequence[Held | None]
    ) -> dict[int, Exception]:
        """Send messages, in as few batches as possible.

        Parameters:
          messages: Each with its delay in milliseconds, or None.
          retried: What we hold that each of them is the retry of, or None.

        Returns:
          Which could not be sent, by their numbers, and why.
        """
        moving: dict[int, Held] = {}
        by_queue: dict[str, dict[int, Encoded]] = {}
        for number, ((message, delay), held) in enumerate(zip(messages, retried, strict=True)):
            if held is not None and held.is_lost():
                _logger.warning(
                    "A retry on %s was dropped: its message is held elsewhere.", message.queue_name
                )
                continue
            if held is not None:
                moving[number] = held
            due = utc(delay) if delay else None
            encoded = encode(message.encode(), _message_id(message), due)
            by_queue.setdefault(message.queue_name, {})[number] = encoded
        self._crash("enqueue:before")
        for held in moving.values():
            held.state = State.MOVING
        failed = self._hand_over(by_queue)
        for number, held in moving.items():
            if number not in failed:
                held.state = State.MOVED
        self._crash("enqueue:after")
        return failed

    def _hand_over(self, by_queue: dict[str, dict[int, Encoded]]) -> dict[int, Exception]:
        """Give messages to the loop, and wait until Service Bus has them all; tell which failed."""
        engine = self._started()
        deadline = time.monotonic() + self._timeout_seconds
        orders = [
            (name, Order(part, deadline))
            for name, messages in by_queue.items()
            for part in split(list(messages.values()), MAX_BATCH_BYTES // 2)
        ]
        engine.loop.post(lambda: [engine.queue(name).outbox.submit(order) for name, order in orders])
        numbers = [number for messages in by_queue.values() for number in messages]
        failed: dict[int, Exception] = {}
        for name, order in orders:
            those, numbers = numbers[: len(order.messages)], numbers[len(order.messages) :]
            error = self._outcome(name, order)
            if error is not None:
                failed |= dict.fromkeys(those, error)
        return failed

    def _outcome(self, queue_name: str, order: Order) -> Exception | None:
        """Wait until Service Bus has an order, and tell why it has not."""
        try:
            order.done.result(max(0.0, order.deadline - time.monotonic()))
        except (TimeoutError, CancelledError):
            error = unconfirmed(queue_name, self._timeout_seconds)
            order.fail(error)
            return error
        except Exception as error:  # noqa: BLE001 -- all of them are told to the sender
            return as_broker_error(error, queue_name)
        return None


def not_sent(helds: Sequence[Held | None]) -> None:
    """Note that what follows messages could not be sent.

    Dramatiq acknowledges them all the same: the acknowledgement must know.
    """
    for held in helds:
        if held is not None and held.state in {State.HELD, State.MOVING}:
            held.state = State.RETRY_FAILED


def unconfirmed(queue_name: str, seconds: float) -> BrokerConnectionError:
    """Say that Service Bus did not confirm a message in time."""
    return BrokerConnectionError(
        f"Service Bus queue {queue_name!r} did not confirm a message within {seconds:g} s; the log says why"
    )


def _message_id(message: "Message[Any]") -> str:
    """Name a message for duplicate detection: what is sent again on purpose must not pass for a duplicate."""
    return f"{message.message_id}.{int(message.options.get('retries') or 0)}.{token_hex(4)}"
