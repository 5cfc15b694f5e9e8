"""The events of all users together, for operators: nothing here keeps users apart.

Places order the events of one user; between users only the moment tells, as the clock of whoever recorded it
had it. It orders what people look at, and nothing that is done.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from lightning.events import EventDocument
from lightning.log import documents
from lightning.log.change import CONTAINER
from lightning.storage import Storage, Where
from lightning.storage.paging import page_token


@dataclass(frozen=True, slots=True)
class EventPage:
    """A page of events, and the token that asks for the next one."""

    events: list[EventDocument]
    next: str | None


class AllUsers:
    """Lists the events of all users, the latest first.

    Parameters:
      storage: Where they stand.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def recorded(
        self, *, since: str | None = None, until: str | None = None, limit: int, page: str | None = None
    ) -> EventPage:
        """List events, the one that was recorded last first.

        Parameters:
          since: Only those of this moment or later, as `now_text` writes it.
          until: Only those of before this moment.
          limit: At most so many, 1 to 1,000.
          page: Where the page before ended.

        Raises:
          ValueError: The page token is not one of ours.
        """
        where = [Where("recordedAt", ">=", since)] if since is not None else []
        where += [Where("recordedAt", "<", until)] if until is not None else []
        return await self._newest("recordedAt", where, limit, page)

    async def dead(self, *, limit: int, page: str | None = None) -> EventPage:
        """List dead events, the one that died last first.

        Raises:
          ValueError: The page token is not one of ours.
        """
        return await self._newest("deadAt", [], limit, page)

    def behind(self, event: EventDocument) -> str:
        """Give the token for what was recorded before an event."""
        return page_token(cast("dict[str, Any]", event), "recordedAt")

    async def _newest(self, field: str, where: Sequence[Where], limit: int, page: str | None) -> EventPage:
        found = await self._storage.query(
            CONTAINER, None, where, order_by=field, descending=True, limit=limit, page=page
        )
        return EventPage([documents.as_event(item) for item in found.items], found.next)
