"""Goes through the log of a user, a page of events at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from lightning.domain.approvals import ApprovalDocument, Standing
from lightning.events import EventDocument, read_moment
from lightning.log import EventLog
from lightning.prices import Prices
from lightning.storage import Storage, Where
from lightning.telemetry.redaction import Redactor
from lightning.trail.facts import Facts
from lightning.trail.found import find
from lightning.trail.record import Record

#: Events that are looked at for one page.
MAX_EVENTS: Final = 200


@dataclass(frozen=True, slots=True)
class TrailPage:
    """Some records, and the place behind which it goes on; None: that was all."""

    records: list[Record]
    next: int | None


class Trail:
    """The audit trail of every user: read from the log alone, so that it tells what holds.

    What an operator lets expire is not there any more, and of what was said in a conversation that was
    deleted only that it was.

    Parameters:
      storage: Where the log is.
      log: The log.
      prices: What tokens cost.
      redactor: What must not get out.
      standing: Tells how an approval stands.
    """

    def __init__(
        self,
        storage: Storage,
        log: EventLog,
        prices: Prices,
        redactor: Redactor,
        standing: Callable[[ApprovalDocument], Awaitable[Standing]],
    ) -> None:
        self._storage = storage
        self._log = log
        self._standing = standing
        self._facts = Facts(prices, redactor)

    async def of_user(
        self, user_id: str, *, since: datetime | None = None, after: int = 0, limit: int = 100
    ) -> TrailPage:
        """Tell what all events of a user are and caused, in the order of the log.

        Parameters:
          user_id: Whose.
          since: Only what was recorded from then on.
          after: The ``next`` of the page before.
          limit: At most so many events are looked at.
        """
        after = await self._begin(user_id, since, after)
        events = await self._log.events(user_id, after=after, limit=min(limit, MAX_EVENTS))
        records = await self._records(user_id, events)
        return TrailPage(records, events[-1]["seq"] if events.more else None)

    async def of_event(
        self, event: EventDocument, *, since: datetime | None = None, after: int = 0, limit: int = 100
    ) -> TrailPage:
        """Tell what an event is, and what followed from it at whatever distance; see `of_user`."""
        user_id = event["userID"]
        after = max(await self._begin(user_id, since, after), event["seq"] - 1)
        where = [Where("root", "=", event["root"])]
        events = await self._log.events(user_id, where, after=after, limit=min(limit, MAX_EVENTS))
        causes = {each["id"]: each["cause"] for each in events}
        followed = [each for each in events if await self._follows(user_id, each["id"], event["id"], causes)]
        records = await self._records(user_id, followed)
        return TrailPage(records, events[-1]["seq"] if events.more else None)

    async def _records(self, user_id: str, events: list[EventDocument]) -> list[Record]:
        found = await find(self._storage, user_id, events)
        for event in events:
            if (approval := found.approval(event)) is not None:
                found.standings[approval["id"]] = await self._standing(approval)
        return [record for event in events for record in self._facts.of(event, found)]

    async def _follows(self, user_id: str, event_id: str, first: str, causes: dict[str, str | None]) -> bool:
        """Tell whether an event is one, or follows from it; what is found out is kept in ``causes``."""
        at: str | None = event_id
        while at is not None and at != first:
            if at not in causes:
                found = await self._log.get(user_id, at)
                causes[at] = None if found is None else found["cause"]
            at = causes[at]
        return at == first

    async def _begin(self, user_id: str, since: datetime | None, after: int) -> int:
        """Find the place behind which the first event stands that was recorded since then.

        The log is in the order of recording, so that a few reads find it. Where a clock was put back, what
        stands behind that place is told, whatever it says of its time.
        """
        if since is None or after:
            return after
        lowest, highest = 0, (await self._log.head(user_id))["seq"]
        while lowest < highest:
            middle = (lowest + highest) // 2
            found = await self._log.events(user_id, after=middle, limit=1)
            if not found or read_moment(found[0]["recordedAt"]) >= since:
                highest = middle
            else:
                lowest = found[0]["seq"]
        return lowest
