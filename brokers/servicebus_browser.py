"""Looking into a queue without receiving from it: what waits, how long, and what was given up."""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

from azure.servicebus import ServiceBusMessageState, ServiceBusReceivedMessage

from brokers.dead_letters import DeadLetter
from brokers.servicebus_locks import Management
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_wire_receiver import Outcome, Received, ReceiverLink

#: Messages in one look.
PAGE: Final = 250

#: Looks after which the age of the oldest message is that of the oldest seen.
MAX_PAGES: Final = 40

#: For how long the age of the oldest message is not asked for again.
AGE_SECONDS: Final = 3.0

#: Service Bus's own words for reasons that have a name with us.
_REASONS: Final = {"MaxDeliveryCountExceeded": "delivery_count_exceeded", "TTLExpiredException": "expired"}

_COMPLETED: Final = Outcome("completed")
_RELEASED: Final = Outcome("released")


class Browser:
    """Looks into one queue and its dead letters. Belongs to the loop.

    Parameters:
      namespace: Opens links.
      queue_name: The queue.
      management: Asks the queue.
      dead: Asks the queue of its dead letters; this closes it.
    """

    def __init__(
        self, namespace: Namespace, queue_name: str, management: Management, dead: Management
    ) -> None:
        self._namespace = namespace
        self._queue_name = queue_name
        self._management = management
        self._dead = dead
        self._taking = asyncio.Lock()
        self._looking = asyncio.Lock()
        self._oldest: datetime | None = None
        self._oldest_until = 0.0

    async def count(self, most: int = sys.maxsize) -> int:
        """Count what waits, is scheduled or is locked, up to a number, however many looks it takes."""
        return sum([1 async for _ in self._messages(self._management, most)])

    async def oldest_due(self) -> datetime | None:
        """Give the time since when the oldest message that waits or is held has been due.

        Everybody who asks within `AGE_SECONDS` gets the same answer: each look costs an operation.
        """
        async with self._looking:
            if time.monotonic() >= self._oldest_until:
                self._oldest = await self._find_oldest()
                self._oldest_until = time.monotonic() + AGE_SECONDS
            return self._oldest

    async def _find_oldest(self) -> datetime | None:
        # A message that becomes due is numbered anew: what is due comes in the order in which it became so.
        async for message in self._messages(self._management, MAX_PAGES * PAGE):
            if message.state is not ServiceBusMessageState.SCHEDULED and message.enqueued_time_utc:
                return message.enqueued_time_utc
        return None

    async def check(self) -> None:
        """Ask the queue something that costs little."""
        await self._management.ask(lambda link: link.peek(1, 1))

    async def dead_letters(self, limit: int) -> list[DeadLetter]:
        """List the oldest dead letters."""
        return [self._dead_letter(message) async for message in self._messages(self._dead, limit)]

    @asynccontextmanager
    async def take(self, sequence: int) -> AsyncGenerator[Received | None, None]:
        """Hold a dead letter while something is done with it, and remove it then.

        Gives None when there is none of that number, or another program holds it.
        """
        async with self._taking:
            arrived: list[Received] = []
            link = self._namespace.receiver(self._queue_name, arrived.append, dead_letters=True)
            await link.open()
            reader = asyncio.create_task(link.run())
            try:
                wanted = await _find(link, arrived, sequence)
                try:
                    yield wanted
                except BaseException:
                    wanted = None
                    raise
                finally:
                    await asyncio.gather(
                        *(link.settle(each, _COMPLETED if each is wanted else _RELEASED) for each in arrived)
                    )
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
                await link.close()

    async def flush(self, *, dead_letters: bool = False) -> None:
        """Drop what waits, and what is scheduled; what another program holds stays."""
        management = self._dead if dead_letters else self._management
        async for message in self._messages(management, sys.maxsize):
            if message.state is ServiceBusMessageState.SCHEDULED and message.sequence_number is not None:
                sequence = message.sequence_number
                await management.ask(lambda link, n=sequence: link.cancel_scheduled([n]))
        arrived: list[Received] = []
        link = self._namespace.receiver(self._queue_name, arrived.append, dead_letters=dead_letters)
        await link.open()
        reader = asyncio.create_task(link.run())
        try:
            while True:
                arrived.clear()
                await link.drain(PAGE)
                if not arrived:
                    return
                await asyncio.gather(*(link.settle(each, _COMPLETED) for each in arrived))
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await link.close()

    async def close(self) -> None:
        """Close the links."""
        await self._dead.close()

    async def _messages(self, management: Management, limit: int) -> AsyncIterator[ServiceBusReceivedMessage]:
        sequence = 1
        while limit > 0:
            count = min(PAGE, limit)
            page: list[ServiceBusReceivedMessage] = await management.ask(
                lambda link, n=sequence, count=count: link.peek(n, count)
            )
            for message in page:
                yield message
            limit -= len(page)
            if not page:
                return
            sequence = (page[-1].sequence_number or 0) + 1

    def _dead_letter(self, message: ServiceBusReceivedMessage) -> DeadLetter:
        reason = message.dead_letter_reason or "unknown"
        before = message.delivery_count or 0  # what ended without a rejection
        return DeadLetter(
            id=f"{self._queue_name}:{message.sequence_number}",
            queue_name=self._queue_name,
            body=_body(message),
            reason=_REASONS.get(reason, reason),
            error=message.dead_letter_error_description or "",
            deliveries=before if reason in _REASONS else before + 1,
            died_at=message.enqueued_time_utc or datetime.fromtimestamp(0, UTC),
        )


def number_of(dead_letter_id: str) -> tuple[str, int] | None:
    """Read a dead letter's name as queue and number; None when it is not one."""
    queue_name, _, number = dead_letter_id.rpartition(":")
    return (queue_name, int(number)) if queue_name and number.isdecimal() else None


async def _find(link: ReceiverLink, arrived: list[Received], sequence: int) -> Received | None:
    """Let dead letters come, ever more of them, until the wanted one has or all have.

    Those before it are held meanwhile, or they would come again; their bodies are not.
    """
    count = 1
    while True:
        before = len(arrived)
        await link.drain(count)
        for number, received in enumerate(arrived[before:], before):
            if received.sequence == sequence:
                return received
            arrived[number] = replace(received, body=b"")
        if len(arrived) == before:
            return None
        count = min(2 * count, PAGE)


def _body(message: ServiceBusReceivedMessage) -> bytes:
    body: Any = message.body
    if isinstance(body, bytes):
        return body
    try:
        return b"".join(body)
    except TypeError:
        return repr(body).encode()
