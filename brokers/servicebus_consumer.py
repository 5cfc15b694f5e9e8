"""What one worker process does with one queue of Service Bus, on Dramatiq's threads."""

import asyncio
import logging
import queue
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, cast

from dramatiq import Consumer, MessageProxy
from dramatiq.errors import DecodeError

from brokers.messages import decode, why_rejected, why_undecodable
from brokers.servicebus_delivery import Delivery, Held, State
from brokers.servicebus_intake import Intake
from brokers.servicebus_loop import LoopThread
from brokers.servicebus_wire_receiver import Outcome

#: Service Bus keeps so much of a dead letter's description; a traceback names its cause at its end.
MAX_DESCRIPTION_CHARS: Final = 4000

#: How long a consumer that closes waits for the confirmation of what it settled and gave back.
CLOSE_SECONDS: Final = 10.0

_logger = logging.getLogger(__name__)

COMPLETED: Final = Outcome("completed")
ABANDONED: Final = Outcome("abandoned")
RELEASED: Final = Outcome("released")


def close_all(loop: LoopThread, consumers: Sequence["ServiceBusConsumer"]) -> None:
    """Close consumers of one process, together."""

    async def finish() -> None:
        await asyncio.gather(*(consumer.finish() for consumer in consumers))

    loop.run(finish())


class ServiceBusConsumer(Consumer):
    """Messages of one queue. Settling is safe from any thread, and waits for nothing.

    Parameters:
      loop: Where the intake lives.
      queue_name: The queue.
      open_intake: Makes the intake, on the loop.
      timeout_ms: How long to wait for a message.
      crash: Called at the points named in `ServiceBusBroker`.
      on_hold: Called with each delivery that this process holds from now on.
    """

    def __init__(
        self,
        loop: LoopThread,
        queue_name: str,
        open_intake: Callable[[Callable[[Held], None]], Intake],
        timeout_ms: int,
        crash: Callable[[str], None],
        on_hold: Callable[[Delivery], None],
    ) -> None:
        self._loop = loop
        self._queue_name = queue_name
        self._timeout_seconds = timeout_ms / 1000
        self._crash = crash
        self._on_hold = on_hold
        self._ready: queue.SimpleQueue[Held | None] = queue.SimpleQueue()
        self.closed = False

        async def start() -> Intake:
            return open_intake(self._ready.put)

        self._intake = loop.run(start())

    def __next__(self) -> MessageProxy | None:
        """Wait for the next message; None when there is none in time."""
        deadline = time.monotonic() + self._timeout_seconds
        while not self.closed:
            try:
                held = self._ready.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return None
            if held is None:
                return None
            delivery = self._delivery(held)
            if delivery is not None:
                return delivery
        return None

    def ack(self, message: MessageProxy) -> None:
        """Complete a message. One whose retry could not be sent becomes visible again instead."""
        self._crash("ack:before")
        held = cast("Delivery", message).held
        # An interrupted retry may have been sent: then it runs twice, which is better than never.
        failed = held.state in {State.RETRY_FAILED, State.MOVING}
        self._settle(held, ABANDONED if failed else COMPLETED)

    def nack(self, message: MessageProxy) -> None:
        """Make a dead letter of a message."""
        delivery = cast("Delivery", message)
        why = why_rejected(delivery, delivery.exception)
        self._settle(delivery.held, Outcome("suspended", "rejected", why[-MAX_DESCRIPTION_CHARS:]))

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back that were not handed to an actor."""
        for message in messages:
            self._settle(cast("Delivery", message).held, RELEASED)
        self.flush()

    def flush(self) -> None:
        """Wait until what was settled is confirmed."""
        try:
            self._loop.run(self._intake.flush(), CLOSE_SECONDS)
        except TimeoutError:
            _logger.warning("Settlements on %s are not confirmed yet.", self._queue_name)

    def stop(self) -> None:
        """Let nothing more come."""
        self._loop.post(lambda: self._loop.spawn(self._intake.stop()))

    def close(self) -> None:
        """Give back what was not delivered yet, confirm what was settled, and disconnect."""
        if not self.closed:
            close_all(self._loop, [self])

    async def finish(self) -> None:
        """Close, on the loop."""
        if self.closed:
            return
        self.closed = True
        self._ready.put(None)
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._close()
        except TimeoutError:
            _logger.warning("What was held of %s is delivered again when its locks end.", self._queue_name)
        except Exception:  # the others are to be closed as well
            _logger.exception("The consumer of %s did not close in order.", self._queue_name)

    async def _close(self) -> None:
        await self._intake.stop()
        while not self._ready.empty():
            held = self._ready.get_nowait()
            if held is not None:
                held.state = State.SETTLED
                self._intake.settle(held, RELEASED)
        await self._intake.close()

    def _delivery(self, held: Held) -> Delivery | None:
        if held.state is State.LOST:
            held.state = State.SETTLED
            self._loop.post(held.intake.forget)
            return None
        try:
            message = decode(held.received.body, self._queue_name)
        except DecodeError as error:
            why = why_undecodable(error)
            self._settle(held, Outcome("suspended", "undecodable", why[-MAX_DESCRIPTION_CHARS:]))
            self._report_undecodable(why)
            return None
        delivery = Delivery(message, held)
        self._on_hold(delivery)
        return delivery

    def _report_undecodable(self, why: str) -> None:
        _logger.error("A message on %s cannot be decoded: %s", self._queue_name, why)

    def _settle(self, held: Held, outcome: Outcome) -> None:
        state, held.state = held.state, State.SETTLED
        if state is State.SETTLED:  # Dramatiq tries again when settling raised
            return
        if state is State.LOST:
            _logger.warning(
                "A message of %s was settled after its lock was lost, to no effect.", self._queue_name
            )
            self._loop.post(held.intake.forget)
            return
        self._loop.post(lambda: held.intake.settle(held, outcome))
