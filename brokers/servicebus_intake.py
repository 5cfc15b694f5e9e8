"""What comes from one queue for one consumer: links that are opened anew, credit, and settlements."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from brokers.servicebus_delivery import Held
from brokers.servicebus_faults import Backoff, LinkLost, LockLost, kind_of, report
from brokers.servicebus_locks import Locks
from brokers.servicebus_loop import LoopThread
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_wire_receiver import Outcome, Received, ReceiverLink

#: A link that has lived so long has earned an immediate reconnect.
STEADY_SECONDS: Final = 5.0

#: Credit is granted again when this part of the prefetch is free, or all of what was granted has come.
_GRANT_PARTS: Final = 4

_logger = logging.getLogger(__name__)


class Intake:
    """Receives for one consumer. Belongs to the loop.

    Parameters:
      loop: Where this lives.
      namespace: Opens the links.
      queue_name: The queue.
      prefetch: How many messages to hold at most.
      locks: Renews what is held.
      max_backoff_seconds: The longest wait between attempts to connect.
      deliver: Called with each message that comes.
      settled: Called after each settlement that was confirmed.
    """

    def __init__(
        self,
        loop: LoopThread,
        namespace: Namespace,
        queue_name: str,
        *,
        prefetch: int,
        locks: Locks,
        max_backoff_seconds: float,
        deliver: Callable[[Held], None],
        settled: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._event_loop = asyncio.get_running_loop()
        self._namespace = namespace
        self._queue_name = queue_name
        self._prefetch = prefetch
        self._locks = locks
        self._backoff = Backoff(max_backoff_seconds)
        self._deliver = deliver
        self._settled = settled
        self._held = 0
        self._granting = False
        self._link: ReceiverLink | None = None
        self._settling: set[asyncio.Task[Any]] = set()
        self._closing = False
        self._task = loop.spawn(self._run())

    def settle(self, held: Held, outcome: Outcome) -> None:
        """Settle a message soon; its place is free from now on."""
        self._held -= 1
        task = self._loop.spawn(self._settle(held, outcome))
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)

    def forget(self) -> None:
        """Free the place of a message that was lost."""
        self._held -= 1
        self._loop.spawn(self._grant())

    def dropped(self) -> None:
        """Free the place of a message that nobody refers to; from any thread, wherever it is collected."""
        # Not through the loop thread's queue: what is collected while that is locked would wait for itself.
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody receives here any more
            self._event_loop.call_soon_threadsafe(self.forget)

    async def flush(self) -> None:
        """Wait until what was settled so far is confirmed."""
        if self._settling:
            await asyncio.wait(set(self._settling))

    async def stop(self) -> None:
        """Let nothing more come; what has come was delivered when this returns."""
        self._closing = True
        if self._link is not None:
            try:
                await self._link.drain()
            except Exception as error:  # noqa: BLE001 -- what it was to give back comes back when its lock ends
                report(error, self._queue_name, "receive")

    async def close(self) -> None:
        """Confirm what is settled, then disconnect."""
        await self.flush()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while not self._closing:
            link: ReceiverLink | None = None
            opened_at = time.monotonic()
            try:
                link = self._namespace.receiver(self._queue_name, self._received)
                await link.open()
                self._link = link
                await self._grant()
                await link.run()
            except Exception as error:  # noqa: BLE001 -- no fault may end a consumer
                if time.monotonic() - opened_at > STEADY_SECONDS:
                    self._backoff.reset()
                report(error, self._queue_name, "receive")
                wait = self._backoff.after(error)
            else:
                wait = 0.0
            finally:
                self._link = None
                if link is not None:
                    await link.close()
            await asyncio.sleep(wait)

    def _received(self, received: Received) -> None:
        held = Held(received, self)
        self._held += 1
        self._backoff.reset()
        self._locks.watch(held)
        self._deliver(held)

    async def _settle(self, held: Held, outcome: Outcome) -> None:
        link = held.received.link
        try:
            if link is not self._link:
                await self._locks.settle(held, outcome)
            else:
                self._loop.spawn(self._grant())  # it goes out after the settlement, which frees the place
                try:
                    await link.settle(held.received, outcome)
                except LinkLost as error:
                    if kind_of(error) != "connection_lost":  # the end of a link is reported by its reader
                        report(error, self._queue_name, "settle")
                    await self._locks.settle(held, outcome)
        except LockLost:
            _logger.warning(
                "Message %d of %s was settled after its lock was lost, to no effect: it is delivered again.",
                held.received.sequence,
                self._queue_name,
            )
        except Exception as error:  # noqa: BLE001 -- it is delivered again when its lock ends
            report(error, self._queue_name, "settle")
        else:
            if outcome.name in {"completed", "abandoned"}:
                self._settled()

    async def _grant(self) -> None:
        link, room = self._link, self._prefetch - self._held
        if link is None or self._closing or room <= 0:
            return
        missing = room - link.credit
        if missing >= max(1, self._prefetch // _GRANT_PARTS) or (missing > 0 and link.credit <= 0):
            try:
                await link.grant(room)
            except Exception:  # noqa: BLE001 -- whoever reads the link reports its end
                _logger.debug("No credit was granted on %s: its link ended.", self._queue_name)
