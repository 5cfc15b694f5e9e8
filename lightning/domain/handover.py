"""Hands slots over: the tick of each is recorded, and its message comes when it is due.

The id of a tick derives from its slot, so whoever hands a slot over that was handed over before changes
nothing. That is why ingress, chat and any number of clocks may all do so.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

import structlog
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import get_meter

from lightning.domain.firing import GRACE, MOST_TOGETHER
from lightning.domain.schedule import Reason, Schedule
from lightning.errors import LightningError
from lightning.log import Dispatch
from lightning.telemetry import carrier, names

#: A clock hands a slot over so long before it is due, as a message that comes in time: longer than a look
#: takes.
AHEAD_SECONDS: Final = 2.5

#: No clock goes longer without looking for what others have made meanwhile.
LONGEST_REST_SECONDS: Final = 30.0

#: Whoever makes a schedule hands over by itself what is due before each clock has looked.
SOON: Final = timedelta(seconds=LONGEST_REST_SECONDS + 2 * AHEAD_SECONDS)

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


class Handover:
    """Records and announces ticks.

    Parameters:
      dispatch: Does so.
    """

    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch
        self._caught_up = get_meter(__name__).create_counter(
            names.SCHEDULE_CAUGHT_UP, description="Slots that were handed over late"
        )

    async def soon(self, schedule: Schedule, now: datetime) -> None:
        """Hand over what a schedule, just made or changed, fires before clocks have surely seen it.

        The schedule stays as it is: a clock notes on it what has fired. What fails here a clock does, later.

        Parameters:
          schedule: As it stands in the store.
          now: The present moment.
        """
        slots: list[datetime] = []
        slot = schedule.next
        while slot is not None and schedule.plan.due(slot) <= now + SOON and len(slots) < MOST_TOGETHER:
            slots.append(slot)
            slot = schedule.plan.next(slot)
        try:
            await self.ticks(schedule, slots, now)
        except LightningError as error:
            _log.warning("schedule_left_to_the_clock", schedule=schedule.id, error=error.message)

    async def ticks(
        self, schedule: Schedule, slots: Sequence[datetime], now: datetime, *, missed: int = 0
    ) -> None:
        """Record and announce ticks, in a trace of their own, linked to where the schedule was made.

        Parameters:
          schedule: Whose.
          slots: Each gets a tick.
          now: The present moment.
          missed: How many others were left out, for the trace.

        Raises:
          Transient: The store does not answer; some may be recorded.
        """
        if not slots:
            return
        made = trace.get_current_span(carrier.parent(schedule.trace)).get_span_context()
        with _tracer.start_as_current_span(
            names.FIRE,
            context=Context(),
            links=[trace.Link(made)] if made.is_valid else [],
            attributes={names.SCHEDULE: schedule.id},
        ) as span:
            at = carrier.current()
            drafts = [schedule.tick(each, _reason(schedule, each, now), now, at) for each in slots]
            await asyncio.gather(*(self._dispatch.accept(schedule.user_id, draft) for draft in drafts))
            late = sum(draft.metadata["reason"] == "missed" for draft in drafts)
            span.set_attributes({names.SCHEDULE_MISSED: missed, names.SCHEDULE_CAUGHT_UP: late})
        if late:
            self._caught_up.add(late)


def _reason(schedule: Schedule, slot: datetime, now: datetime) -> Reason:
    return "missed" if now - schedule.plan.due(slot) > GRACE else "due"
