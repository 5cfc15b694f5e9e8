"""The sweep: with it the log is the outbox, and the queue may be lost whole."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from lightning.events import TYPES, EventDocument
from lightning.log import Dispatch, EventLog, wakeups
from lightning.log.dispatch import ANNOUNCE_SECONDS
from lightning.log.documents import announced_for, as_event
from lightning.queue import Queue
from lightning.storage import Page, Stored

_log = structlog.get_logger(__name__)

#: Most events that one round announces again: with a round a second, the rate that refills a lost queue.
EVENTS_PER_ROUND = 500

#: Pages of each list that one round looks at, each of at most so many events and 4 MiB; the next goes on.
PAGES_PER_ROUND = 4

#: A message is sent so long after its event was due, at the latest: it is recorded first, and the queue may
#: be slow. Before that, many an event in front of a backlog is older than the oldest message.
ANNOUNCED_WITHIN_SECONDS = ANNOUNCE_SECONDS + 1.0

#: Gives a page of a list: at most so many events, from the token of the page before.
Look = Callable[[int, str | None], Awaitable[Page]]

#: A queue, as its actor and whether it is the one for bulk.
_Where = tuple[str, bool]


class Sweep:
    """Finds events that nobody works on although they are due, and announces them again.

    It is silent about events that are probably still in their queue: an event
    that nobody claimed is not lost while messages wait that are older than its last one.
    What workers hold does not wait, so a long answer hides nobody's loss; only
    on Service Bus, which cannot tell, it does for as long as it takes.

    Parameters:
      log: The event log.
      queue: Asked how far behind the workers are.
      dispatch: Sends the messages.
    """

    def __init__(self, log: EventLog, queue: Queue, dispatch: Dispatch) -> None:
        self._log = log
        self._queue = queue
        self._dispatch = dispatch
        # claims that ran out are a list of their own: no backlog stands before them
        self._walks = [Walk(log.overdue.lapsed), Walk(log.overdue.overlooked)]

    async def round(self) -> int:
        """Look once.

        Returns:
          The number of events announced again.

        Raises:
          Transient: The store or the queue does not answer.
        """
        lost = await self._lost()
        results = await asyncio.gather(*map(self._log.overdue.sweep, lost), return_exceptions=True)
        events = [result for result in results if isinstance(result, dict)]
        await self._dispatch.announce(wakeups(events))
        if events:
            _log.info("swept", events=len(events))
        for result in results:
            if isinstance(result, BaseException):
                raise result  # those that were written down are announced all the same
        return len(events)

    @property
    def is_through(self) -> bool:
        """Whether the last round came to the end of what is overdue; else the next one goes on from there."""
        return all(walk.at_start for walk in self._walks)

    async def _lost(self) -> list[Stored]:
        """Look through what is overdue, a part in each round."""
        lost: list[Stored] = []
        backlogs: dict[_Where, float | None] = {}
        now = time.time()
        for walk in self._walks:
            for _ in range(PAGES_PER_ROUND):
                if len(lost) == EVENTS_PER_ROUND:
                    break
                found = await walk.on(EVENTS_PER_ROUND - len(lost))
                for actor, bulk in _queues(found).difference(backlogs):
                    backlogs[actor, bulk] = await self._queue.oldest_age_seconds(actor, bulk=bulk)
                lost += [each for each in found if _is_lost(as_event(each), now, backlogs)]
                if walk.at_start:
                    break
        return lost


class Walk:
    """Goes through a list that may be longer than a round, and begins anew behind its end.

    Parameters:
      look: Gives its pages.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._page: str | None = None

    @property
    def at_start(self) -> bool:
        """Whether the next step begins anew."""
        return self._page is None

    async def on(self, limit: int) -> list[Stored]:
        """Take a step of at most so many events."""
        page = await self._look(limit, self._page)
        self._page = page.next
        return page.items


def _queues(found: Sequence[Stored]) -> set[_Where]:
    return {where for each in found if (where := _where(as_event(each))) is not None}


def _where(event: EventDocument) -> _Where | None:
    """Give the queue of an event; events of a type that only a newer version knows are left to it."""
    kind = TYPES.get(event["type"])
    return None if kind is None else (kind.actor, event.get("bulk", False))


def _is_lost(event: EventDocument, now: float, backlogs: Mapping[_Where, float | None]) -> bool:
    """Tell a lost message from one that waits: a claim that ran out was certainly delivered.

    Parameters:
      event: What is overdue.
      now: Seconds since 1970, from before the backlogs were asked for.
      backlogs: How long the oldest message of each queue has been waiting, in seconds; None: none waits.
    """
    where = _where(event)
    due_at = announced_for(event)
    if where is None or due_at is None:
        return False
    backlog = backlogs[where]
    if event["claim"] is not None or backlog is None:
        return True
    return backlog < now - due_at - ANNOUNCED_WITHIN_SECONDS
