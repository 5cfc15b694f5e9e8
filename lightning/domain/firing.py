"""When a schedule fires: its slots, each with a name of its own, and what becomes of missed ones."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from lightning.domain.cron import next_moment

#: What becomes of slots that nobody fired when they were due.
CatchUp = Literal["none", "latest", "all"]

#: A slot counts as missed when it is late by more: a restart, or many that are due at once, take less.
#: What is late by less fires in any case.
GRACE: Final = timedelta(seconds=60)

#: Missed slots are counted no further.
MOST_COUNTED: Final = 1000

#: Slots of one schedule that are fired together; further ones follow at once.
MOST_TOGETHER: Final = 20

_ONE: Final = timedelta(microseconds=1)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Plan:
    """When a schedule fires: at one moment, by a cron expression, or over and over after the same time.

    Parameters:
      seed: Decides the jitter of each slot: the id of the schedule.
      zone: Whose wall clocks are meant.
      anchor: What ``every`` counts from, in UTC; it does not fire then, unless it is ``start``.
      at: The one moment.
      cron: The expression, in normal form.
      every: The time between two slots, as it passes: no clock that is changed moves them.
      start: No slot is before it.
      end: No slot is behind it.
      jitter: A slot fires later by less than this, and before the next one.
    """

    seed: str
    zone: ZoneInfo
    anchor: datetime
    at: datetime | None = None
    cron: str | None = None
    every: timedelta | None = None
    start: datetime | None = None
    end: datetime | None = None
    jitter: timedelta = timedelta(0)

    def next(self, after: datetime) -> datetime | None:
        """Give the first slot behind a moment, in UTC; None when there is none."""
        if self.start is not None:
            after = max(after, self.start - _ONE)
        slot = self._next(after)
        return None if slot is None or (self.end is not None and slot > self.end) else slot

    def _next(self, after: datetime) -> datetime | None:
        if self.every is not None:
            first = 0 if self.start is not None else 1
            try:
                return self.anchor + max(first, (after - self.anchor) // self.every + 1) * self.every
            except OverflowError:
                return None
        if self.cron is not None:
            return next_moment(self.cron, self.zone, after)
        return self.at if self.at is not None and self.at > after else None

    def latest(self, after: datetime, until: datetime) -> datetime | None:
        """Give the last slot behind one moment and not behind another."""
        latest = self.next(after)
        if latest is None or latest > until:
            return None
        before, behind = latest, until
        # somewhere between the two there is no further slot before the end
        while behind - before > _SECOND:
            middle = before + (behind - before) / 2
            slot = self.next(middle)
            if slot is None or slot > until:
                behind = middle
            else:
                before = latest = slot
        following = self.next(latest)
        return following if following is not None and following <= until else latest

    def count(self, after: datetime, until: datetime) -> int:
        """Count the slots behind one moment and before another, up to `MOST_COUNTED`."""
        number = 0
        slot = self.next(after)
        while slot is not None and slot < until and number < MOST_COUNTED:
            number += 1
            slot = self.next(slot)
        return number

    def label(self, slot: datetime) -> str:
        """Name a slot by what the wall clock shows then: the same name never comes again."""
        if self.cron is None:
            return text(slot)
        local = slot.astimezone(self.zone)
        again = ";2" if local.fold else ""
        return f"{local.replace(tzinfo=None).isoformat(timespec='seconds')}[{self.zone.key}{again}]"

    def due(self, slot: datetime) -> datetime:
        """Give the moment at which a slot fires: the slot, and what its jitter adds, always the same."""
        if not self.jitter:
            return slot
        following = self.next(slot)
        most = self.jitter if following is None else min(self.jitter, following - slot)
        digest = hashlib.sha256(f"{self.seed} {self.label(slot)}".encode()).digest()
        return slot + most * (int.from_bytes(digest[:6], "big") / 2**48)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about a schedule that is due.

    Parameters:
      slots: Those that fire.
      missed: How many do not fire any more, counted up to `MOST_COUNTED`.
      next: The first slot that is not settled; None when there is none.
    """

    slots: tuple[datetime, ...]
    missed: int
    next: datetime | None


def decide(plan: Plan, first: datetime, until: datetime, catch_up: CatchUp, window: timedelta) -> Decision:
    """Settle the slots that are due.

    Parameters:
      plan: When the schedule fires.
      first: The first slot that is not settled.
      until: Up to which moment slots are due.
      catch_up: What becomes of missed slots. ``none``: nothing. ``latest``: the last one fires, if nothing
        behind it is due. ``all``: those fire that are late by no more than ``window``.
      window: See there.
    """
    oldest = until - (max(window, GRACE) if catch_up == "all" else GRACE)
    start, missed = _first_since(plan, first, oldest)
    slots: list[datetime] = []
    slot = start
    while slot is not None and plan.due(slot) <= until and len(slots) < MOST_TOGETHER:
        slots.append(slot)
        slot = plan.next(slot)
    if catch_up == "latest" and missed and not slots:
        behind = datetime.max.replace(tzinfo=UTC) if slot is None else slot
        latest = plan.latest(first - _ONE, min(until, behind - _ONE))
        if latest is not None:
            return Decision((latest,), missed - 1, slot)
    return Decision(tuple(slots), missed, slot)


def _first_since(plan: Plan, first: datetime, oldest: datetime) -> tuple[datetime | None, int]:
    """Find the first slot that fires no earlier than a moment, and count those that were to do so before."""
    latest = plan.latest(first - _ONE, oldest)
    if latest is None:
        return first, 0
    missed = plan.count(first - _ONE, latest)
    if plan.due(latest) >= oldest:
        return latest, missed
    return plan.next(latest), missed + 1


def text(moment: datetime) -> str:
    """Write a moment as RFC 3339 text in UTC."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
