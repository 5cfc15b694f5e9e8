"""Ends a worker whose event loop stands still: nothing else would, as its other threads go on.

A handler that computes without end, or waits without ``await``, keeps every other event of the process from
going on. Its leases are renewed and its health is answered meanwhile, so nobody outside notices. The process
is ended by its `LastResort`, so an endless loop in C code ends too. The supervisor starts it again. The
attempt was counted with the claim, so the event is dead after its last one.
"""

import asyncio
import math

import dramatiq
from dramatiq import Worker
from dramatiq.asyncio import get_event_loop_thread

from worker.last_resort import LastResort

#: The loop says at least so often, in its limit, that it goes on.
BEATS = 4

MAX_BEAT_SECONDS = 1.0


class Watchdog(dramatiq.Middleware):
    """Watches the loop that all actors run on; to be added behind the middleware that starts it.

    Parameters:
      last_resort: Ends the process.
      stuck_seconds: A loop that stands still for so long is not waited for any longer.
    """

    def __init__(self, last_resort: LastResort, stuck_seconds: float) -> None:
        self._last_resort = last_resort
        self._stuck_seconds = stuck_seconds
        self._next: asyncio.TimerHandle | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Worker) -> None:
        """Begin, before there is a message: the first may be the one that holds up the loop."""
        del broker, worker
        thread = get_event_loop_thread()
        if thread is not None:
            thread.loop.call_soon_threadsafe(self._beat, thread.loop)

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Worker) -> None:
        """End, before the loop does."""
        del broker, worker
        thread = get_event_loop_thread()
        if thread is not None:
            thread.run_coroutine(self._rest())

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """Put off the end: this is the loop itself, so it goes on."""
        # the next beat comes whatever becomes of this one: where memory is short, no timer can be set
        self._next = loop.call_later(min(MAX_BEAT_SECONDS, self._stuck_seconds / BEATS), self._beat, loop)
        self._last_resort.stuck_within(self._stuck_seconds)

    async def _rest(self) -> None:
        if self._next is not None:
            self._next.cancel()
        self._last_resort.stuck_within(math.inf)
