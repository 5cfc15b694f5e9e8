"""What a schedule fired: its ticks, as the log has them."""

from dataclasses import dataclass
from typing import Literal

from lightning.events import EventDocument
from lightning.log import EventLog
from lightning.storage import Where

Outcome = Literal["waiting", "fired", "skipped", "dead", "cancelled"]


@dataclass(frozen=True, slots=True)
class Fires:
    """A page of ticks, newest first.

    Parameters:
      ticks: The events.
      more: Whether there are older ones.
    """

    ticks: list[EventDocument]
    more: bool


async def fires_of(
    log: EventLog, user_id: str, schedule_id: str, *, before: int | None = None, limit: int
) -> Fires:
    """List the ticks of a schedule, newest first.

    Parameters:
      log: Where they stand.
      user_id: Whose schedule.
      schedule_id: Which.
      before: Only those ahead of this place.
      limit: At most so many.
    """
    found = await log.events(
        user_id, [Where("scheduleID", "=", schedule_id)], descending=True, before=before, limit=limit
    )
    return Fires(list(found), found.more)


def outcome_of(tick: EventDocument) -> Outcome:
    """Tell what became of a tick."""
    match tick["state"]:
        case "accepted":
            return "waiting"
        case "done":
            return "fired" if tick["outputs"] else "skipped"
        case other:
            return other
