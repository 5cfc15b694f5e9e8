"""How people see schedules and what they fired."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from lightning.domain.fires import outcome_of
from lightning.domain.schedule import Schedule
from lightning.domain.when import When, stored
from lightning.events import EventDocument

#: Fires that are told in advance.
FORESEEN = 5


def shown(schedule: Schedule, *, foreseen: int = FORESEEN) -> dict[str, Any]:
    """Show a schedule, with so many of its next fires."""
    when: dict[str, Any] = dict.fromkeys(When.model_fields) | stored(schedule.when)
    event = schedule.event
    return {
        "id": schedule.id,
        "userID": schedule.user_id,
        "event": {"type": event.type, "source": event.source, "metadata": event.metadata},
        **when,
        **stored(schedule.policies),
        "description": schedule.description,
        "state": schedule.state,
        "reason": schedule.reason,
        "nextFires": list(islice(_foreseen(schedule), foreseen)),
        "fired": schedule.fired,
        "missed": schedule.missed,
        "createdAt": schedule.created_at,
        "updatedAt": schedule.updated_at,
    }


def _foreseen(schedule: Schedule) -> Iterator[str]:
    """Tell when a schedule fires, by the clocks of its time zone."""
    plan, zone, slot = schedule.plan, ZoneInfo(schedule.when.timezone), schedule.next
    with suppress(OverflowError):  # the calendar ends
        while slot is not None:
            yield plan.due(slot).astimezone(zone).isoformat(timespec="seconds").replace("+00:00", "Z")
            slot = plan.next(slot)


def fire_shown(tick: EventDocument) -> dict[str, Any]:
    """Show a slot that came."""
    return {
        "id": tick["id"],
        "seq": tick["seq"],
        "slot": tick["metadata"]["slot"],
        "plannedAt": tick["metadata"]["plannedAt"],
        "reason": tick["metadata"]["reason"],
        "recordedAt": tick["recordedAt"],
        "outcome": outcome_of(tick),
        "events": tick["outputs"],
        "error": tick["error"],
    }
