"""Moments as events tell them: RFC 3339 text, in UTC."""

import re
from datetime import UTC, datetime

#: RFC 3339, section 5.6; the zone is checked apart, to name it in the answer.
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII)


def read_moment(value: object) -> datetime:
    """Read RFC 3339 text as a moment in UTC.

    Raises:
      ValueError: It is none, has no zone, or is beyond the calendar.
    """
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("the timestamp is not RFC 3339 text, such as 2026-01-31T12:00:00Z")
    moment = datetime.fromisoformat(value.upper())
    if moment.tzinfo is None:
        raise ValueError("the timestamp has no zone; add Z or an offset such as +02:00")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the timestamp is beyond the calendar in UTC") from None


def now_text() -> str:
    """Give the present moment as RFC 3339 text in UTC."""
    return as_text(datetime.now(UTC))


def as_text(moment: datetime) -> str:
    """Give a moment as RFC 3339 text in UTC, to the millisecond: texts are in the order of their moments."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
