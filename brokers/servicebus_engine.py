"""All that a process has open at Service Bus: one loop thread, and what belongs to it for each queue."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any, Final

from brokers.servicebus_browser import Browser
from brokers.servicebus_locks import Locks, Management
from brokers.servicebus_loop import LoopThread
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_outbox import Outbox

#: How long the links of a process that ends may take to close.
CLOSE_SECONDS: Final = 5.0

#: Renewals wait no longer for their next attempt, since the shortest lock lasts 5 s.
RENEWAL_BACKOFF_SECONDS: Final = 0.5

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QueueParts:
    """What a process has open for one queue."""

    outbox: Outbox
    management: Management
    locks: Locks
    browser: Browser


class Engine:
    """The loop thread and what runs on it; nothing is connected before it is used.

    Parameters:
      namespace: Opens links.
      max_backoff_seconds: The longest wait between attempts to connect.
      shortest_lock_seconds: No lock lasts shorter.
    """

    def __init__(
        self, namespace: Namespace, max_backoff_seconds: float, shortest_lock_seconds: float
    ) -> None:
        self.loop = LoopThread()
        self.namespace = namespace
        self._max_backoff_seconds = max_backoff_seconds
        self._shortest_lock_seconds = shortest_lock_seconds
        self._queues: dict[str, QueueParts] = {}

    def queue(self, name: str) -> QueueParts:
        """Give the parts of a queue; call this on the loop."""
        parts = self._queues.get(name)
        if parts is None:
            most = self._max_backoff_seconds
            management = Management(self.namespace, name, most)
            dead = Management(self.namespace, name, most, dead_letters=True)
            parts = self._queues[name] = QueueParts(
                outbox=Outbox(self.loop, self.namespace, name, most),
                management=management,
                locks=Locks(
                    self.loop,
                    management,
                    lambda: Management(self.namespace, name, min(most, RENEWAL_BACKOFF_SECONDS)),
                    name,
                    self._shortest_lock_seconds,
                ),
                browser=Browser(self.namespace, name, management, dead),
            )
        return parts

    def close(self) -> None:
        """Disconnect everything, and end the thread."""
        try:
            self.loop.run(self._close())
        finally:
            self.loop.stop()

    async def _close(self) -> None:
        parts = list(self._queues.values())
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                # Whoever settles keeps the management links.
                await asyncio.gather(*(each.locks.close() for each in parts))
                closing: list[Any] = []
                for each in parts:
                    closing += [each.outbox.close(), each.management.close(), each.browser.close()]
                await asyncio.gather(*closing, return_exceptions=True)
        except TimeoutError:
            _logger.warning("Service Bus did not confirm that the links are closed; they are cut.")
        await asyncio.sleep(0)  # transports that were closed are gone one turn later
