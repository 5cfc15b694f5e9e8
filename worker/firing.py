"""Finds the schedules that are due, and hands their slots over: the tick is recorded first.

Whoever dies before the schedule is written is followed by somebody who finds it as it was, and the tick
recorded: its id derives from the slot. So any number of clocks may do this at once, and each slot fires once.
"""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog
from opentelemetry.metrics import get_meter

from lightning.crash import CrashPoint, no_crash
from lightning.domain.disabled import DisabledAccounts
from lightning.domain.firing import Decision, decide
from lightning.domain.handover import AHEAD_SECONDS, LONGEST_REST_SECONDS, Handover
from lightning.domain.schedule import from_document
from lightning.domain.schedules import DISABLED, Schedules
from lightning.errors import PreconditionFailed
from lightning.storage import Stored
from lightning.telemetry import names

#: After a look that found something there may be more of it so soon.
NEXT_SECONDS: Final = 1.0

#: Schedules that one look reads together, and works on together.
PAGE: Final = 500
TOGETHER: Final = 64

#: Pages of one round: whatever else the clock has to do waits for it.
PAGES_PER_ROUND: Final = 40

_log = structlog.get_logger(__name__)


class Firing:
    """Hands slots over that are due.

    Parameters:
      schedules: The schedules.
      handover: Records and announces the ticks.
      disabled: Tells whose schedules do not fire.
      rest_seconds: The longest time between two looks. What is made meanwhile and due before, whoever makes
        it hands over.
      crash: Told of the points between the tick and the schedule.
    """

    def __init__(
        self,
        schedules: Schedules,
        handover: Handover,
        disabled: DisabledAccounts,
        *,
        rest_seconds: float = LONGEST_REST_SECONDS,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._schedules = schedules
        self._handover = handover
        self._disabled = disabled
        self._rest_seconds = rest_seconds
        self._crash = crash
        self._missed = get_meter(__name__).create_counter(
            names.SCHEDULE_MISSED, description="Slots that nobody fired when they were due, and never will"
        )

    async def look(self) -> float:
        """Hand over what is due, if anything is.

        Asked is for the one schedule that is due next: where all are idle, none is read.

        Returns:
          After how many seconds to look again.

        Raises:
          Transient: The store does not answer.
        """
        until = self._schedules.clock() + AHEAD_SECONDS
        found = await self._schedules.due(until + self._rest_seconds, 1)
        if not found.items:
            return self._rest_seconds
        if (wait := found.items[0].body["dueAt"] - until) > 0:
            return wait
        await self.round()
        return NEXT_SECONDS

    async def round(self) -> int:
        """Hand over what is due.

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
        reason = None
        if await self._disabled.has(schedule.user_id):
            decision, reason = _left_out(decision), DISABLED
        await self._handover.ticks(schedule, decision.slots, now, missed=decision.missed)
        self._crash("schedule:ticked")
        try:
            await self._schedules.settle(stored, decision, reason)
        except PreconditionFailed:
            return  # another clock was first, or somebody changed it: then its ticks of before do not fire
        self._crash("schedule:settled")
        if decision.missed:
            self._missed.add(decision.missed)
            # those of an account that is disabled are not to fire
            if reason is None:
                _log.warning("slots_missed", schedule=schedule.id, slots=decision.missed)
            else:
                _log.info("slots_left_out", schedule=schedule.id, slots=decision.missed, why=reason)


def _left_out(decision: Decision) -> Decision:
    return replace(decision, slots=(), missed=decision.missed + len(decision.slots))
