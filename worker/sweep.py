"""The sweep: with it the log is the outbox, and the queue may be lost whole."""

import asyncio
import time

import structlog

from lightning.events import TYPES, EventDocument
from lightning.log import Dispatch, EventLog, wakeups
from lightning.log.documents import as_event
from lightning.queue import Queue
from lightning.storage import Stored

_log = structlog.get_logger(__name__)

#: Most events that one round announces again: with a round a second, the rate that refills a lost queue.
EVENTS_PER_ROUND = 500

#: Pages of that size that one round looks at.
PAGES_PER_ROUND = 20


class Sweep:
    """Finds events that nobody works on although they are due, and announces them again.

    It is silent about events that are probably still in the queue: an event
    that was never claimed is not lost while older messages wait before it.

    Parameters:
      log: The event log.
      queue: Asked how far behind the workers are.
      dispatch: Sends the messages.
    """

    def __init__(self, log: EventLog, queue: Queue, dispatch: Dispatch) -> None:
        self._log = log
        self._queue = queue
        self._dispatch = dispatch

    async def round(self) -> int:
        """Look once.

        Returns:
          The number of events announced again.

        Raises:
          Transient: The store or the queue does not answer.
        """
        lost = await self._lost()
        results = await asyncio.gather(*map(self._log.sweep, lost), return_exceptions=True)
        events = [result for result in results if isinstance(result, dict)]
        await self._dispatch.announce(wakeups(events))
        if events:
            _log.info("swept", events=len(events))
        for result in results:
            if isinstance(result, BaseException):
                raise result  # those that were written down are announced all the same
        return len(events)

    async def _lost(self) -> list[Stored]:
        """Look through what is overdue; a backlog before them must not hide the claims that ran out."""
        lost: list[Stored] = []
        backlog, page = None, None
        for _ in range(PAGES_PER_ROUND):
            overlooked = await self._log.overlooked(EVENTS_PER_ROUND, page)
            if overlooked.items and backlog is None:
                backlog = await self._queue.oldest_age_seconds() or 0.0
            now = time.time()
            lost += [each for each in overlooked.items if _is_lost(as_event(each), now, backlog or 0.0)]
            page = overlooked.next
            if page is None or len(lost) >= EVENTS_PER_ROUND:
                break
        return lost[:EVENTS_PER_ROUND]


def _is_lost(event: EventDocument, now: float, backlog_seconds: float) -> bool:
    """Tell a lost message from one that waits: a claim that ran out was certainly delivered.

    Events of a type that only a newer version knows are left to it.
    """
    if event["type"] not in TYPES:
        return False
    if event["dueAt"] is None:
        return False
    return event["claim"] is not None or backlog_seconds < now - event["dueAt"]
