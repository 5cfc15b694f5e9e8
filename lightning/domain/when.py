"""What people say about when a schedule fires, and what becomes of what it fires."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Final, Self
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from lightning.domain.cron import MAX_CHARS, read_cron
from lightning.domain.firing import CatchUp, Plan, text
from lightning.events import Overlap, read_moment
from lightning.metadata import Metadata

MIN_EVERY_SECONDS: Final = 10
MAX_EVERY_SECONDS: Final = 366 * 86_400
MAX_JITTER_SECONDS: Final = 86_400
MAX_WINDOW_SECONDS: Final = 31 * 86_400

#: The years that may be asked for: around them is room in the calendar for time zones, jitter and more slots.
FIRST_YEAR: Final = 1900
LAST_YEAR: Final = 9000

#: ISO 8601 durations whose parts have one length each: years and months have not.
_PATTERN: Final = r"^P(?=.)(\d{1,9}W)?(\d{1,9}D)?(T(?=.)(\d{1,9}H)?(\d{1,9}M)?(\d{1,9}(\.\d{1,6})?S)?)?$"
_DURATION: Final = re.compile(_PATTERN, re.ASCII)
_DURATIONS: Final = TypeAdapter(timedelta)


def read_seconds(value: object) -> float:
    """Read seconds, or an ISO 8601 duration as seconds.

    Raises:
      ValueError: It is neither.
    """
    if isinstance(value, str) and _DURATION.fullmatch(value):
        with suppress(ValidationError):  # over a million years
            return _DURATIONS.validate_python(value).total_seconds()
        return float("inf")
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError(
        'it is no duration; examples are 900 (seconds) and "PT15M" (ISO 8601, without years and months)'
    )


@cache
def _zones() -> frozenset[str]:
    """List the zones once: each time takes hundreds of looks at files."""
    return frozenset(available_timezones())


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("it is no time zone of IANA's; examples are Europe/Berlin and UTC")
    return name


def _within(least: int, most: int) -> AfterValidator:
    def check(seconds: float) -> float:
        if not least <= seconds <= most:
            raise ValueError(f"it is {least} to {most} seconds; an example is {max(least, 900)}")
        return seconds

    return AfterValidator(check)


def _plain(seconds: float) -> float:
    return int(seconds) if seconds.is_integer() else seconds


Seconds = Annotated[
    float,
    BeforeValidator(
        read_seconds, json_schema_input_type=float | Annotated[str, StringConstraints(pattern=_PATTERN)]
    ),
    PlainSerializer(_plain, return_type=float),
]
Moment = Annotated[
    datetime,
    BeforeValidator(read_moment, json_schema_input_type=str),
    PlainSerializer(text, return_type=str),
]


def with_room(moment: datetime) -> datetime:
    """Let a moment pass that somebody asks for.

    What is stored may be any moment: it was asked for when the whole calendar was taken.

    Raises:
      ValueError: It is too close to an end of the calendar.
    """
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise ValueError(
            f"it is not within the years {FIRST_YEAR} to {LAST_YEAR}; an example is 2030-01-31T09:00:00Z"
        )
    return moment


class When(Metadata):
    """When a schedule fires: exactly one of ``timestamp``, ``cron`` and ``every``."""

    timestamp: Annotated[
        Moment | None, Field(description="Once, then: RFC 3339, such as `2030-01-31T09:00:00+01:00`.")
    ] = None
    cron: Annotated[
        Annotated[str, AfterValidator(read_cron)] | None,
        Field(
            max_length=MAX_CHARS,
            description="Five fields: minute, hour, day, month, weekday; or `@hourly`, `@daily`, `@weekly`, "
            "`@monthly`, `@yearly`.",
            examples=["0 9 * * 1-5"],
        ),
    ] = None
    every: Annotated[
        Annotated[Seconds, _within(MIN_EVERY_SECONDS, MAX_EVERY_SECONDS)] | None,
        Field(
            description="Over and over after so many seconds, or an ISO 8601 duration such as `PT15M`; "
            "counted from `startAt`, or from when the schedule was made.",
        ),
    ] = None
    timezone: Annotated[
        str,
        Field(max_length=64, description="Whose clocks `cron` means (IANA).", examples=["Europe/Berlin"]),
        AfterValidator(_zone),
    ] = "UTC"
    startAt: Annotated[  # noqa: N815 -- the wire's name
        Moment | None, Field(description="Not before (RFC 3339).")
    ] = None
    endAt: Annotated[  # noqa: N815 -- the wire's name
        Moment | None, Field(description="Not after (RFC 3339).")
    ] = None
    jitter: Annotated[
        Seconds,
        _within(0, MAX_JITTER_SECONDS),
        Field(
            description="Each slot fires later by less than this, always by the same; seconds or ISO 8601.",
            examples=[30],
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        named = [name for name in ("timestamp", "cron", "every") if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(
                'name exactly one of timestamp, cron and every; an example is "cron": "0 9 * * 1-5"'
            )
        if self.timestamp is not None and (self.startAt or self.endAt):
            raise ValueError("startAt and endAt bound what comes again; leave them out beside timestamp")
        if self.startAt is not None and self.endAt is not None and self.endAt < self.startAt:
            raise ValueError("endAt is before startAt; an example is 2030-12-31T00:00:00Z")
        return self

    def plan(self, seed: str, made_at: datetime) -> Plan:
        """Make the arithmetic of it.

        Parameters:
          seed: The id of the schedule.
          made_at: When this was said, in UTC.
        """
        return Plan(
            seed,
            ZoneInfo(self.timezone),
            self.startAt or made_at.replace(microsecond=0),
            at=self.timestamp,
            cron=self.cron,
            every=None if self.every is None else timedelta(seconds=self.every),
            start=self.startAt,
            end=self.endAt,
            jitter=timedelta(seconds=self.jitter),
        )


class Policies(Metadata):
    """What becomes of slots that overlap, and of those that were missed."""

    overlap: Annotated[
        Overlap,
        Field(
            description="What becomes of a slot while the event before it is not over: it is left out, "
            "waits, fires all the same, or fires once the one before is cancelled."
        ),
    ] = "skip"
    catchUp: Annotated[  # noqa: N815 -- the wire's name
        CatchUp,
        Field(
            description="What becomes of slots that are over a minute late: none of them fires, the latest "
            "one, or all within `catchUpWindow`."
        ),
    ] = "latest"
    catchUpWindow: Annotated[  # noqa: N815 -- the wire's name
        Seconds,
        _within(1, MAX_WINDOW_SECONDS),
        Field(
            description="How late a slot may be for `all`; seconds or ISO 8601.",
            examples=[86400],
        ),
    ] = 86_400.0


def now_utc() -> datetime:
    """Give the present moment in UTC."""
    return datetime.now(UTC)


def stored(model: Metadata) -> dict[str, Any]:
    """Write a model down as JSON, without what it does not say."""
    return model.model_dump(mode="json", exclude_none=True)
