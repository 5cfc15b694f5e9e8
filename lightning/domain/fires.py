"""What a schedule fired: its ticks, as the log has them, and what of it goes on."""

from dataclasses import dataclass
from typing import Final, Literal

from lightning.events import EventDocument
from lightning.log import EventLog
from lightning.storage import Where

#: So many, and no more, are listed of what goes on.
MOST_GOING: Final = 200

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


@dataclass(frozen=True, slots=True)
class Going:
    """What of a schedule is not over, in order of its places.

    Parameters:
      waiting: Ids of ticks that have not fired yet.
      fired: Ids of events that ticks have fired.
    """

    waiting: list[str]
    fired: list[str]


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
    where = [Where("scheduleID", "=", schedule_id), Where("type", "=", "schedule.tick")]
    found = await log.events(user_id, where, descending=True, before=before, limit=limit)
    return Fires(list(found), found.more)


async def going_on(log: EventLog, user_id: str, schedule_id: str, *, before: int | None = None) -> Going:
    """List what of a schedule is not over.

    Parameters:
      log: Where it stands.
      user_id: Whose schedule.
      schedule_id: Which.
      before: Only ticks ahead of this place. What ticks have fired may have a later one.
    """
    where = [Where("scheduleID", "=", schedule_id), Where("state", "=", "accepted")]
    found = await log.events(user_id, where, limit=MOST_GOING)
    ticks = [each for each in found if each["type"] == "schedule.tick"]
    return Going(
        [tick["id"] for tick in ticks if before is None or tick["seq"] < before],
        [each["id"] for each in found if each["type"] != "schedule.tick"],
    )


def outcome_of(tick: EventDocument) -> Outcome:
    """Tell what became of a tick."""
    match tick["state"]:
        case "accepted":
            return "waiting"
        case "done":
            return "fired" if tick["outputs"] else "skipped"
        case other:
            return other
