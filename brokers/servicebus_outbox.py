"""What is sent to one queue: coalesced into batches, several of them under way, each sender answered."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Final

from brokers.servicebus_faults import (
    HOPELESS,
    PASSING,
    Backoff,
    LinkLost,
    MessageTooLarge,
    as_broker_error,
    kind_of,
    report,
)
from brokers.servicebus_loop import LoopThread
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_wire_sender import Encoded, SenderLink

#: Batches that may be under way at a time; what comes meanwhile makes the next ones larger. With fewer, what
#: comes waits for a large part of a round trip; with more, each batch bears its costs for a message or two.
MAX_IN_FLIGHT: Final = 8

#: Messages in one batch.
MAX_TOGETHER: Final = 500

#: What each message costs in a batch besides itself.
_OVERHEAD_BYTES: Final = 8


class Order:
    """Messages that are to be sent together, in one batch.

    Parameters:
      messages: The messages.
      deadline: When its sender stops waiting, on the clock of `time.monotonic`.
    """

    def __init__(self, messages: Sequence[Encoded], deadline: float) -> None:
        self.messages = messages
        self.size = sum(len(message.payload) + _OVERHEAD_BYTES for message in messages)
        self.deadline = deadline
        self.is_alone = False  # whether it must not share a batch, since it may be the one that was refused
        self.done: Future[None] = Future()

    def fail(self, error: BaseException) -> None:
        """Tell the sender that it was not sent, or that this is not known."""
        if not self.done.done():
            self.done.set_exception(error)

    def succeed(self) -> None:
        """Tell the sender that it is on the queue."""
        if not self.done.done():
            self.done.set_result(None)


class Outbox:
    """Sends to one queue. Belongs to the loop.

    Parameters:
      loop: Where this lives.
      namespace: Opens the link.
      queue_name: The queue.
      max_backoff_seconds: The longest wait between attempts.
    """

    def __init__(
        self, loop: LoopThread, namespace: Namespace, queue_name: str, max_backoff_seconds: float
    ) -> None:
        self._loop = loop
        self._namespace = namespace
        self._queue_name = queue_name
        self._backoff = Backoff(max_backoff_seconds)
        self._waiting: deque[Order] = deque()
        self._arrived = asyncio.Event()
        self._places = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._pause_until = 0.0
        self._sending: set[asyncio.Task[None]] = set()
        self._task = loop.spawn(self._run())

    def submit(self, order: Order) -> None:
        """Send something soon."""
        while self._waiting and _is_over(self._waiting[0]):  # all wait equally long: the first are over first
            self._waiting.popleft().fail(_too_late())
        self._waiting.append(order)
        self._arrived.set()

    async def close(self) -> None:
        """Stop; what was not sent is refused."""
        self._task.cancel()
        await asyncio.gather(self._task, *self._sending, return_exceptions=True)
        for order in self._waiting:
            order.fail(LinkLost("the broker was closed before the message was sent"))

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            try:
                link = self._namespace.sender(self._queue_name)
                await link.open()
            except Exception as error:  # noqa: BLE001 -- the senders hear of it, and the next attempt follows
                await self._failed(error)
                continue
            await self._work(link)

    async def _work(self, link: SenderLink) -> None:
        """Send over a link until it ends."""
        reader = asyncio.create_task(link.run())
        sender = asyncio.create_task(self._send_all(link))
        try:
            await asyncio.wait([reader, sender], return_when=asyncio.FIRST_COMPLETED)
        finally:
            sender.cancel()
            reader.cancel()
            ends = await asyncio.gather(reader, sender, return_exceptions=True)
            await link.close()
        for end in ends:
            if isinstance(end, Exception):
                await self._failed(end)

    async def _send_all(self, link: SenderLink) -> None:
        limit = link.limit_bytes
        while True:
            await self._arrived.wait()
            await self._places.acquire()
            pause = self._pause_until - time.monotonic()
            if pause > 0:
                self._places.release()
                await asyncio.sleep(pause)
                continue
            batch = self._take(limit)
            if batch:
                task = self._loop.spawn(self._send(link, batch))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)
            else:
                self._places.release()

    def _take(self, limit: int) -> list[Order]:
        """Take what fits into one batch, in the order of submission."""
        batch: list[Order] = []
        size = count = 0
        while self._waiting:
            order = self._waiting[0]
            if _is_over(order):
                self._waiting.popleft()
                order.fail(_too_late())
                continue
            if order.size > limit:
                self._waiting.popleft()
                order.fail(_too_large(order, limit))
                continue
            is_full = size + order.size > limit or count + len(order.messages) > MAX_TOGETHER
            if batch and (is_full or order.is_alone or batch[0].is_alone):
                break
            batch.append(self._waiting.popleft())
            size += order.size
            count += len(order.messages)
        if not self._waiting:
            self._arrived.clear()
        return batch

    async def _send(self, link: SenderLink, batch: list[Order]) -> None:
        try:
            await link.send([message for order in batch for message in order.messages])
        except Exception as error:  # noqa: BLE001 -- the senders hear of it, or it is sent again
            self._refused(batch, error)
        else:
            self._backoff.reset()
            for order in batch:
                order.succeed()
        finally:
            self._places.release()

    def _refused(self, batch: list[Order], error: Exception) -> None:
        kind = kind_of(error)
        is_passing = kind in PASSING or isinstance(error, LinkLost | OSError)
        if not isinstance(error, LinkLost):  # the end of a link is reported by whoever reads it
            report(error, self._queue_name, "send")
        if kind in HOPELESS or (len(batch) == 1 and not is_passing):
            for order in batch:
                order.fail(as_broker_error(error, self._queue_name))
            return
        if not is_passing:
            for order in batch:
                order.is_alone = True
        elif not isinstance(error, LinkLost):
            self._pause_until = time.monotonic() + self._backoff.after(error)
        # Again, under the same ids: a queue that detects duplicates drops what had arrived after all.
        self._waiting.extendleft(reversed(batch))
        self._arrived.set()

    async def _failed(self, error: Exception) -> None:
        """There is no link: tell those who cannot wait, and wait for the others."""
        report(error, self._queue_name, "send")
        hopeless = kind_of(error) in HOPELESS
        for order in list(self._waiting):
            if hopeless or _is_over(order):
                self._waiting.remove(order)
                order.fail(as_broker_error(error, self._queue_name))
        if not self._waiting:
            self._arrived.clear()
        await asyncio.sleep(self._backoff.after(error))


def split(messages: Sequence[Encoded], limit: int) -> list[list[Encoded]]:
    """Divide messages among batches, in their order."""
    parts: list[list[Encoded]] = []
    size = 0
    for message in messages:
        needed = len(message.payload) + _OVERHEAD_BYTES
        if not parts or size + needed > limit or len(parts[-1]) >= MAX_TOGETHER:
            parts.append([])
            size = 0
        parts[-1].append(message)
        size += needed
    return parts


def _is_over(order: Order) -> bool:
    return order.done.done() or time.monotonic() > order.deadline


def _too_late() -> LinkLost:
    return LinkLost("it could not be sent in time")


def _too_large(order: Order, limit: int) -> MessageTooLarge:
    return MessageTooLarge(
        f"the message takes {order.size} bytes, and Service Bus takes at most {limit} bytes in this tier; "
        "put the data elsewhere, and a reference to it into the message"
    )
