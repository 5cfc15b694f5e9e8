"""What a thread asks of queues of Service Bus, and what it does with their dead letters."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError
from typing import Any, Final, TypeVar

from dramatiq.errors import BrokerConnectionError

from brokers.servicebus_browser import number_of
from brokers.servicebus_engine import Engine, QueueParts
from brokers.servicebus_faults import as_broker_error
from brokers.servicebus_outbox import Order
from brokers.servicebus_sending import unconfirmed

#: How long a question about a queue may take: connecting, and sending what is replayed.
ASK_SECONDS: Final = 60.0

T = TypeVar("T")


class Asking:
    """Asks queues from any thread.

    Parameters:
      started: Gives the engine, which it starts if there is none.
      send_timeout_seconds: How long to wait for what is replayed.
    """

    def __init__(self, started: Callable[[], Engine], send_timeout_seconds: float) -> None:
        self._started = started
        self._send_timeout_seconds = send_timeout_seconds

    def ask(self, queue_name: str, work: Callable[[QueueParts], Coroutine[Any, Any, T]]) -> T:
        """Do something with a queue's parts, on the loop.

        Raises:
          BrokerConnectionError: The queue does not answer.
        """
        engine = self._started()

        async def do() -> T:
            try:
                return await work(engine.queue(queue_name))
            except Exception as error:
                raise as_broker_error(error, queue_name) from error

        try:
            return engine.loop.run(do(), ASK_SECONDS)
        except (TimeoutError, CancelledError) as error:
            raise BrokerConnectionError(
                f"Service Bus queue {queue_name!r} did not answer within {ASK_SECONDS:g} s, or the broker "
                "was closed meanwhile; try again"
            ) from error

    def take(self, dead_letter_id: str, order: Callable[[str, bytes], Order | None]) -> bool:
        """Remove a dead letter, once what is to be sent instead is sent.

        Parameters:
          dead_letter_id: Which one.
          order: Gives what is to be sent, from the name of its queue and its body; None is nothing.

        Returns:
          False when there is none.
        """
        named = number_of(dead_letter_id)
        if named is None:
            return False
        queue_name, sequence = named

        async def take(parts: QueueParts) -> bool:
            async with parts.browser.take(sequence) as received:
                if received is None:
                    return False
                ordered = order(queue_name, received.body)
                if ordered is not None:
                    parts.outbox.submit(ordered)
                    await self._confirmation(queue_name, ordered)
                return True

        return self.ask(queue_name, take)

    async def _confirmation(self, queue_name: str, order: Order) -> None:
        """Wait until Service Bus has an order, as long as a sender waits."""
        try:
            async with asyncio.timeout(self._send_timeout_seconds):
                await asyncio.wrap_future(order.done)
        except TimeoutError as error:
            raise unconfirmed(queue_name, self._send_timeout_seconds) from error
