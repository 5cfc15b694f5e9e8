"""What a clock that was put back would keep waiting: for a day, if it was put back by a day."""

import time
from collections.abc import Callable
from typing import Final

import structlog

from lightning.log import Dispatch, EventLog, wakeups
from lightning.log.documents import as_event
from lightning.storage import Stored
from worker.sweep import EVENTS_PER_ROUND, Walk

#: Looks are so many claims apart: they ask everybody's partitions, and clocks are put back rarely.
CLAIMS_APART: Final = 2

_log = structlog.get_logger(__name__)


class PutBack:
    """Announces again what is to be looked at further ahead than anything is written down.

    Parameters:
      log: The event log.
      dispatch: Sends the messages.
      claim_seconds: Whoever lives has renewed a claim within so long, by the clock as it is now.
      steady: Seconds that only go forward.
    """

    def __init__(
        self,
        log: EventLog,
        dispatch: Dispatch,
        claim_seconds: float,
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._dispatch = dispatch
        self._claim_seconds = claim_seconds
        self._steady = steady
        self._waiting = Walk(lambda limit, page: log.overdue.ahead("sweepAt", limit, page))
        self._claimed = Walk(lambda limit, page: log.overdue.ahead("reclaimAt", limit, page))
        self._seen: dict[str, float] = {}  # by etag, which a renewal changes: since when

    async def round(self) -> None:
        """Look once.

        Raises:
          Transient: The store does not answer.
        """
        found = [*await self._waiting.on(EVENTS_PER_ROUND), *await self._given_up()]
        events = [event for each in found if (event := await self._log.overdue.sweep(each)) is not None]
        if events:
            _log.warning("clock_was_put_back", events=len(events))
            await self._dispatch.announce(wakeups(events))

    async def _given_up(self) -> list[Stored]:
        """Give what is claimed by nobody who lives: it was seen before, and was not renewed since."""
        now = self._steady()
        found = await self._claimed.on(EVENTS_PER_ROUND)
        self._seen = {each.etag: self._seen.get(each.etag, now) for each in found}
        return [
            each
            for each in found
            if as_event(each)["claim"] and now - self._seen[each.etag] >= self._claim_seconds
        ]
