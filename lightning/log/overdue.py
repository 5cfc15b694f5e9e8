"""Events that somebody should have worked on by now."""

from collections.abc import Callable

from lightning.errors import PreconditionFailed
from lightning.events import EventDocument
from lightning.log import documents
from lightning.log.change import CONTAINER
from lightning.log.jumps import Jumps
from lightning.storage import Page, Storage, Stored, Where


class Overdue:
    """Lists events of all users that are overdue, a page at a time, and notes which are announced again.

    Parameters:
      storage: Where they stand.
      sweep_seconds: An event that nobody claimed so long after it was announced counts as overlooked.
      clock: The present moment in seconds since 1970.
      jumps: Notices when the clock was put forward or back; without it nobody does.
    """

    def __init__(
        self, storage: Storage, sweep_seconds: float, clock: Callable[[], float], jumps: Jumps | None
    ) -> None:
        self._storage = storage
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._jumps = jumps

    async def overlooked(self, limit: int, page: str | None = None) -> Page:
        """List unclaimed events of all users that should have been worked on by now, oldest first."""
        return await self._due("sweepAt", limit, page)

    async def lapsed(self, limit: int, page: str | None = None) -> Page:
        """List events of all users whose claim ran out, oldest first; none just after the clock was set."""
        if self._jumps is not None and self._jumps.settling_seconds():
            return Page([], None)
        return await self._due("reclaimAt", limit, page)

    async def ahead(self, field: str, limit: int, page: str | None = None) -> Page:
        """List events of all users whose time is far ahead, some of them as the clock was put back.

        Parameters:
          field: ``sweepAt``, or ``reclaimAt`` for those that are claimed.
          limit: At most so many.
          page: Where the page before ended.
        """
        where = [Where(field, ">", self._clock() + documents.AHEAD_SECONDS)]
        found = await self._storage.query(CONTAINER, None, where, order_by=field, limit=limit, page=page)
        now = self._clock()
        return Page(
            [each for each in found.items if documents.is_ahead(documents.as_event(each), now)], found.next
        )

    async def _due(self, field: str, limit: int, page: str | None) -> Page:
        where = [Where(field, "<=", self._clock())]
        return await self._storage.query(CONTAINER, None, where, order_by=field, limit=limit, page=page)

    async def sweep(self, stored: Stored) -> EventDocument | None:
        """Note that an overlooked event is announced again.

        Returns:
          The event to announce, or None when somebody was faster.
        """
        event = documents.swept(documents.as_event(stored), self._clock(), self._sweep_seconds)
        try:
            await self._storage.batch(CONTAINER, event["userID"], [documents.replacing(event, stored.etag)])
        except PreconditionFailed:
            return None
        return event
