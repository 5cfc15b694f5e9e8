"""Cron expressions: which moments they name in a time zone, daylight saving time included.

An expression names times of the wall clock. Where clocks are put forward, a time that they jump over fires at
the first moment behind the gap, and all such times together fire once. Where clocks are put back, a time that
comes twice fires at the first one. An expression whose hour begins with ``*`` follows the clock as it goes
instead, as cron does: it fires in both of the hours that repeat, and makes up for nothing in a gap.
"""

import copy
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from croniter import croniter

MAX_CHARS: Final = 256

_NICKNAMES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

#: One field: numbers and names, `*`, ranges, steps, lists, `l` (the last day) and `#` (the nth weekday). What
#: croniter takes besides is chosen at random, or by a hash, and so names other moments each time.
_FIELD: Final = re.compile(
    r"(?:[\d*/,#l-]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun)+"
)

#: Clocks are put back by less than this at once, and not twice within it.
_SHIFT: Final = timedelta(days=1)


def read_cron(text: str) -> str:
    """Check a cron expression.

    Parameters:
      text: Five fields (minute, hour, day of the month, month, weekday), or a name such as ``@daily``.

    Returns:
      It in normal form.

    Raises:
      ValueError: It is none, or names no moment ever.
    """
    plain = " ".join(text.lower().split())
    normal = _NICKNAMES.get(plain, plain)
    if plain.startswith("@") and normal == plain:
        raise ValueError(f"unknown name; known are {', '.join(_NICKNAMES)}")
    fields = normal.split(" ")
    if len(text) > MAX_CHARS or len(fields) != 5 or not all(map(_FIELD.fullmatch, fields)):
        raise ValueError(
            "it has not the five fields minute, hour, day, month and weekday of cron; "
            "an example is 0 9 * * 1-5 (at 9 on weekdays), another one @daily"
        )
    from croniter import CroniterBadDateError  # noqa: PLC0415 -- as in `_parsed`

    try:
        copy.copy(_parsed(normal)).get_next()
    except CroniterBadDateError:
        raise ValueError(
            "it never comes: no such day is in any year; an example that does is 0 9 28 2 *"
        ) from None
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{error}; an example is 0 9 * * 1-5 (at 9 on weekdays)") from None
    return normal


def next_moment(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Give the first moment behind another that an expression names.

    Parameters:
      cron: In normal form.
      zone: Whose wall clocks it means.
      after: With a zone; the moment itself does not count.

    Returns:
      The moment in UTC; None when the calendar ends before it.
    """
    follows_the_clock = cron.split(" ")[1].startswith("*")
    try:
        return _next_passing(cron, zone, after) if follows_the_clock else _next_once(cron, zone, after)
    except OverflowError:
        return None


def _next_once(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Give the next moment of an expression whose times of the wall clock fire once each."""
    moments = (_once(slot, zone) for slot in _slots(cron, _seconds(after.astimezone(zone))))
    return next((moment for moment in moments if moment > after), None)


def _next_passing(cron: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Give the next moment of an expression that follows the clock as it goes."""
    local = after.astimezone(zone)
    slot = next(_slots(cron, _seconds(local)), None)
    if slot is not None:
        moment = _moment(slot, zone, fold=local.fold)
        if moment - after < _SHIFT and moment.astimezone(zone).utcoffset() == local.utcoffset():
            return moment  # the clock is not put anywhere before it
    best: datetime | None = None
    for slot in _slots(cron, _look_from(zone, after)):
        if best is not None and _moment(slot, zone, fold=0) >= best:
            break
        both = {_moment(slot, zone, fold=fold) for fold in (0, 1)}
        # a time in a gap is on no wall clock
        found = [moment for moment in both if moment > after and _wall(moment, zone) == slot]
        best = min(found if best is None else [*found, best], default=best)
    return best


def _slots(cron: str, start: datetime) -> Iterator[datetime]:
    """List the times of the wall clock that an expression names behind another, without a zone."""
    slots = copy.copy(_parsed(cron))
    slots.set_current(start, force=True)
    while True:
        try:
            yield slots.get_next(datetime)
        except ValueError:  # the calendar ends
            return


@lru_cache(maxsize=4096)
def _parsed(cron: str) -> "croniter[Any]":
    """Read an expression, which takes longer than finding its next time."""
    from croniter import croniter  # noqa: PLC0415 -- as it is imported, it runs a program to know its machine

    return croniter(cron, 0)


def _look_from(zone: ZoneInfo, after: datetime) -> datetime:
    """Give the time of the wall clock from which on to look: earlier where it will come again."""
    local = after.astimezone(zone)
    before, behind = local.utcoffset(), (after + _SHIFT).astimezone(zone).utcoffset()
    if before is not None and behind is not None and behind < before:
        return _seconds(local) - (before - behind)
    return _seconds(local)


def _once(slot: datetime, zone: ZoneInfo) -> datetime:
    moment = _moment(slot, zone, fold=0)
    if _wall(moment, zone) == slot:
        return moment
    return _end_of_gap(_moment(slot, zone, fold=1), moment, zone)


def _seconds(local: datetime) -> datetime:
    return local.replace(tzinfo=None, microsecond=0, fold=0)


def _moment(slot: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return slot.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def _end_of_gap(before: datetime, behind: datetime, zone: ZoneInfo) -> datetime:
    """Find the moment at which clocks are put forward, which is between two others."""
    offset = before.astimezone(zone).utcoffset()
    while behind - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(behind - before) // timedelta(seconds=2))
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            behind = middle
    return behind
