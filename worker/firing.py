"""Finds the schedules that are due, and hands their slots over: the tick is recorded first.

Whoever dies before the schedule is written is followed by somebody who finds it as it was, and the tick
recorded: its id derives from the slot. So any number of clocks may do this at once, and each slot fires once.
"""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import get_meter

from lightning.crash import CrashPoint, no_crash
from lightning.domain.firing import GRACE, Decision, decide
from lightning.domain.schedule import Reason, Schedule, from_document
from lightning.domain.schedules import Schedules
from lightning.errors import PreconditionFailed
from lightning.log import Dispatch
from lightning.storage import Stored
from lightning.telemetry import carrier, names

#: Slots are handed over so long before they are due, as messages that come in time: longer than a look takes.
AHEAD_SECONDS: Final = 2.5

#: Schedules that one look reads together, and works on together.
PAGE: Final = 500
TOGETHER: Final = 64

#: Pages of one round: whatever else the clock has to do waits for it.
PAGES_PER_ROUND: Final = 40

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


class Firing:
    """Hands slots over that are due.

    Parameters:
      schedules: The schedules.
      dispatch: Records and announces the ticks.
      crash: Told of the points between the tick and the schedule.
    """

    def __init__(self, schedules: Schedules, dispatch: Dispatch, *, crash: CrashPoint = no_crash) -> None:
        self._schedules = schedules
        self._dispatch = dispatch
        self._crash = crash
        meter = get_meter(__name__)
        self._missed = meter.create_counter(
            names.SCHEDULE_MISSED, description="Slots that nobody fired when they were due, and never will"
        )
        self._caught_up = meter.create_counter(
            names.SCHEDULE_CAUGHT_UP, description="Slots that were handed over late"
        )

    async def round(self) -> int:
        """Look once.

        Returns:
          How many schedules were found due.

        Raises:
          Transient: The store does not answer.
        """
        until = self._schedules.clock() + AHEAD_SECONDS
        number, page = 0, None
        for _ in range(PAGES_PER_ROUND):
            found = await self._schedules.due(until, PAGE, page)
            number += len(found.items)
            # several clocks that look at once do not all begin with the same one
            await self._hand_over(random.sample(found.items, len(found.items)))
            page = found.next
            if page is None:
                break
        return number

    async def _hand_over(self, found: Sequence[Stored]) -> None:
        for start in range(0, len(found), TOGETHER):
            together = found[start : start + TOGETHER]
            for result in await asyncio.gather(*map(self._settle, together), return_exceptions=True):
                if isinstance(result, Exception):
                    _log.warning("schedule_put_off", error=str(result), kind=type(result).__name__)
                elif isinstance(result, BaseException):
                    raise result

    async def _settle(self, stored: Stored) -> None:
        """Record the ticks of a schedule, then note on it that they are."""
        try:
            schedule = from_document(stored.body)
        except ValueError as error:
            _log.warning("schedule_unreadable", schedule=stored.body["id"], error=str(error))
            await self._schedules.set_aside(stored)
            return
        if schedule.next is None:
            return
        now = self._schedules.now()
        until = max(now + timedelta(seconds=AHEAD_SECONDS), schedule.plan.due(schedule.next))
        policies = schedule.policies
        window = timedelta(seconds=policies.catchUpWindow)
        decision = decide(schedule.plan, schedule.next, until, policies.catchUp, window)
        await self._record(schedule, decision, now)
        self._crash("schedule:ticked")
        try:
            await self._schedules.settle(stored, decision)
        except PreconditionFailed:
            return  # another clock was first, or somebody changed it: then its ticks of before do not fire
        self._crash("schedule:settled")
        if decision.missed:
            self._missed.add(decision.missed)
            _log.warning("slots_missed", schedule=schedule.id, slots=decision.missed)

    async def _record(self, schedule: Schedule, decision: Decision, now: datetime) -> None:
        """Record and announce the ticks, in a trace of their own, linked to where the schedule was made."""
        if not decision.slots:
            return
        made = trace.get_current_span(carrier.parent(schedule.trace)).get_span_context()
        with _tracer.start_as_current_span(
            names.FIRE,
            context=Context(),
            links=[trace.Link(made)] if made.is_valid else [],
            attributes={names.SCHEDULE: schedule.id},
        ) as span:
            at = carrier.current()
            drafts = [schedule.tick(each, _reason(schedule, each, now), now, at) for each in decision.slots]
            await asyncio.gather(*(self._dispatch.accept(schedule.user_id, draft) for draft in drafts))
            late = sum(draft.metadata["reason"] == "missed" for draft in drafts)
            span.set_attributes({names.SCHEDULE_MISSED: decision.missed, names.SCHEDULE_CAUGHT_UP: late})
        if late:
            self._caught_up.add(late)


def _reason(schedule: Schedule, slot: datetime, now: datetime) -> Reason:
    return "missed" if now - schedule.plan.due(slot).astimezone(UTC) > GRACE else "due"
