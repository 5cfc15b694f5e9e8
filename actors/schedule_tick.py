"""Turns ticks of schedules into the events that these fire, and has slots of the past fire once more."""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.metrics import get_meter

from actors.actor import Actor
from actors.outcome import Again, Done, Outcome, Output
from lightning.domain.disabled import DisabledAccounts
from lightning.domain.fires import going_on
from lightning.domain.schedule import Schedule
from lightning.domain.schedules import Schedules
from lightning.errors import Conflict, LightningError, NotFound
from lightning.events import EventDocument, Overlap, ScheduleBackfillMetadata, ScheduleTickMetadata
from lightning.log import Dispatch, EventLog
from lightning.telemetry import carrier, names

#: How soon a slot looks again whether the one before it is over.
AGAIN_SECONDS: Final = 2.0

#: So many slots may wait for the one before them; further ones are left out.
MOST_WAITING: Final = 20

#: Slots of the past that are handed over together, and how soon the next ones are.
BACKFILLED_TOGETHER: Final = 10
NEXT_SECONDS: Final = 0.2

#: The one output of a tick.
FIRED: Final = "event"

_ONE: Final = timedelta(microseconds=1)

_log = structlog.get_logger(__name__)


class ScheduleTick(Actor):
    """The schedule-tick actor.

    Parameters:
      schedules: Says what a slot fires now, and whether it does.
      log: Tells what became of the slots before.
      dispatch: Cancels what is to give way, and records the slots that fire once more.
      disabled: Tells whose schedules do not fire.
    """

    def __init__(
        self, schedules: Schedules, log: EventLog, dispatch: Dispatch, disabled: DisabledAccounts
    ) -> None:
        self._schedules = schedules
        self._event_log = log
        self._dispatch = dispatch
        self._disabled = disabled
        meter = get_meter(__name__)
        self._drift = meter.create_histogram(
            names.SCHEDULE_DRIFT, unit="s", description="How much later than planned slots fired"
        )
        self._outcomes = meter.create_counter(
            names.SCHEDULE_TICKS, description="Slots by what became of them"
        )

    async def handle(
        self, event: EventDocument, metadata: ScheduleTickMetadata | ScheduleBackfillMetadata
    ) -> Outcome:
        """Fire a slot, or have many do so; see `Actor.handle`."""
        trace.get_current_span().set_attribute(names.SCHEDULE, metadata.scheduleID)
        if await self._disabled.has(event["userID"]):
            return await self._given_up(event, metadata, "account_disabled")
        try:
            schedule = await self._schedules.get(event["userID"], metadata.scheduleID)
        except NotFound:
            return await self._given_up(event, metadata, "deleted")
        if isinstance(metadata, ScheduleBackfillMetadata):
            return await self._backfill(event, schedule, metadata)
        return await self._fire(event, schedule, metadata)

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Nothing follows: the schedule shows the dead tick among its fires."""
        del event, error
        return []

    async def release(self, event: EventDocument) -> None:
        """Forget how far a backfill came that was cancelled; a dead one goes on from there when replayed."""
        if event["type"] == "schedule.backfill" and event["state"] == "cancelled":
            await self._schedules.forget_backfill(event["userID"], event["id"])

    async def _fire(
        self, event: EventDocument, schedule: Schedule, metadata: ScheduleTickMetadata
    ) -> Outcome:
        if metadata.reason in {"due", "missed"}:
            if schedule.state == "paused":
                return self._left_out(event, "paused")
            if schedule.revision != metadata.revision:
                return self._left_out(event, "changed")
        overlap: Overlap = metadata.overlap or schedule.policies.overlap
        if overlap != "allow":
            # of two slots that are looked at together, the earlier one sees nothing of the other
            ahead = await going_on(self._event_log, event["userID"], schedule.id, before=event["seq"])
            if overlap == "cancel-previous":
                await self._cancel(event["userID"], [*ahead.fired, *ahead.waiting])
            elif ahead.fired or ahead.waiting:
                waits = overlap == "queue" and len(ahead.waiting) < MOST_WAITING
                return Again(AGAIN_SECONDS) if waits else self._left_out(event, "overlap")
        drift = time.time() - datetime.fromisoformat(metadata.plannedAt).timestamp()
        self._drift.record(drift, {"reason": metadata.reason})
        self._outcomes.add(1, {"outcome": "fired", "reason": metadata.reason})
        trace.get_current_span().set_attribute(names.SCHEDULE_DRIFT, drift)
        fires = schedule.event
        return Done([Output(FIRED, fires.type, fires.metadata, fires.source)])

    async def _given_up(
        self, event: EventDocument, metadata: ScheduleTickMetadata | ScheduleBackfillMetadata, why: str
    ) -> Done:
        if isinstance(metadata, ScheduleBackfillMetadata):
            await self._schedules.forget_backfill(event["userID"], event["id"])
        return self._left_out(event, why)

    def _left_out(self, event: EventDocument, why: str) -> Done:
        trace.get_current_span().set_attribute(names.SKIPPED, why)
        self._outcomes.add(1, {"outcome": "skipped", "reason": why})
        _log.info("slot_left_out", event_id=event["id"], why=why)
        return Done()

    async def _cancel(self, user_id: str, ids: list[str]) -> None:
        for each in ids:
            with suppress(Conflict, NotFound):  # it is over by now
                await self._dispatch.cancel(user_id, each)

    async def _backfill(
        self, event: EventDocument, schedule: Schedule, metadata: ScheduleBackfillMetadata
    ) -> Outcome:
        """Hand over the next slots; those that were handed over by a look that died are known again."""
        user_id = event["userID"]
        if metadata.overlap == "queue":
            going = await going_on(self._event_log, user_id, schedule.id)
            if len(going.waiting) > MOST_WAITING - BACKFILLED_TOGETHER:
                return Again(AGAIN_SECONDS)
        end = datetime.fromisoformat(metadata.endAt)
        after = await self._schedules.backfilled(user_id, event["id"])
        slot = schedule.plan.next(after or datetime.fromisoformat(metadata.startAt) - _ONE)
        slots: list[datetime] = []
        while slot is not None and slot <= end and len(slots) < BACKFILLED_TOGETHER:
            slots.append(slot)
            slot = schedule.plan.next(slot)
        now, at = datetime.now(UTC), carrier.current()
        drafts = [
            schedule.tick(each, "backfill", now, at, within=event["id"], overlap=metadata.overlap)
            for each in slots
        ]
        await asyncio.gather(*(self._dispatch.accept(user_id, draft) for draft in drafts))
        if slot is None or slot > end:
            await self._schedules.forget_backfill(user_id, event["id"])
            return Done()
        await self._schedules.note_backfilled(user_id, event["id"], slots[-1])
        return Again(NEXT_SECONDS)
