"""Events that somebody looks for: of one log or of all, a page at a time, within bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from lightning.errors import InvalidRequest
from lightning.events import EventDocument, as_text
from lightning.log import EventLog
from lightning.storage import Where

#: So many events are looked through; then somebody must ask for more.
MAX_LOOKED_AT: Final = 2_000
_PORTION: Final = 200

Wanted = Callable[[EventDocument], bool]


class Source(Protocol):
    """Where events are looked for, the newest first."""

    async def read(self, place: Any, limit: int) -> tuple[list[EventDocument], bool]:
        """Give what is behind a place, and whether there is more."""
        ...

    def behind(self, event: EventDocument) -> Any:
        """Give the place behind an event."""
        ...


@dataclass(frozen=True, slots=True)
class OfOne:
    """The events of one user; a place is their own.

    Parameters:
      log: The logs.
      user_id: Whose.
      where: What the store is asked for.
      after: Only places beyond this one.
    """

    log: EventLog
    user_id: str
    where: list[Where]
    after: int

    async def read(self, place: int, limit: int) -> tuple[list[EventDocument], bool]:
        """Give what is ahead of a place; see `Source.read`."""
        found = await self.log.events(
            self.user_id, self.where, after=self.after, before=place, descending=True, limit=limit
        )
        return list(found), found.more

    def behind(self, event: EventDocument) -> int:
        """Give the place of an event."""
        return event["seq"]


@dataclass(frozen=True, slots=True)
class OfAll:
    """The events of all users; a place is a token.

    Parameters:
      log: The logs.
      since: Only those of this moment or later.
      until: Only those of before this moment.
    """

    log: EventLog
    since: str | None
    until: str | None

    async def read(self, place: str | None, limit: int) -> tuple[list[EventDocument], bool]:
        """Give what was recorded before; see `Source.read`."""
        found = await self.log.all_users.recorded(since=self.since, until=self.until, limit=limit, page=place)
        return found.events, found.next is not None

    def behind(self, event: EventDocument) -> str:
        """Give the token of an event."""
        return self.log.all_users.behind(event)


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of events.

    Parameters:
      events: They, newest first.
      next: The place behind which the next page begins; None on the last one.
      looked_at: So many were looked through.
    """

    events: list[EventDocument]
    next: Any
    looked_at: int


async def find(source: Source, place: Any, wanted: Wanted | None, limit: int) -> Listed:
    """Look for events.

    Parameters:
      source: Where.
      place: Where to begin.
      wanted: What the store cannot tell; None takes each.
      limit: At most so many.
    """
    if wanted is None:
        events, more = await source.read(place, limit)
        return Listed(events, source.behind(events[-1]) if more else None, len(events))
    matching, looked_at, more = list[EventDocument](), 0, True
    while more and looked_at < MAX_LOOKED_AT and len(matching) < limit:
        events, more = await source.read(place, _PORTION)
        for number, event in enumerate(events, 1):
            place, looked_at = source.behind(event), looked_at + 1
            if wanted(event):
                matching.append(event)
            if len(matching) == limit:
                more = more or number < len(events)
                break
    return Listed(matching, place if more else None, looked_at)


def moment_of(text: str) -> datetime:
    """Read a moment as a form gives it, in UTC unless it says otherwise.

    Raises:
      InvalidRequest: It is none.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        message = "a time is written as 2026-01-31T12:00, in UTC"
        raise InvalidRequest(message, code="invalid_parameter") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def recorded_text(text: str) -> str | None:
    """Write a moment of a form as events have it; None for none.

    Raises:
      InvalidRequest: It is none.
    """
    return as_text(moment_of(text)) if text else None


async def place_of(log: EventLog, user: str, moment: str) -> int:
    """Find the first place of what was recorded at a moment or later: places and times go up together.

    Clocks that differ may put a neighbour on the other side.

    Raises:
      InvalidRequest: It is no moment.
    """
    at = moment_of(moment)
    low, high = 1, int((await log.head(user))["seq"]) + 1
    while low < high:
        middle = (low + high) // 2
        found = await log.events(user, after=middle - 1, limit=1)
        if not found or datetime.fromisoformat(found[0]["recordedAt"]) >= at:
            high = middle
        else:
            low = max(middle, found[0]["seq"]) + 1
    return low
