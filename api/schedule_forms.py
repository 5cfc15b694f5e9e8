"""The forms in which people give and see schedules, and what they fired."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from api.events import MAX_PLACE
from api.shown import ProblemShown
from lightning.domain.when import Moment, Policies, When, with_room
from lightning.events import Name, Overlap, read_moment

MAX_PAGE = 200
MAX_FIRES = 100

Description = Annotated[str, Field(max_length=500)]


class ScheduledEvent(BaseModel):
    """The event to fire, as it would be posted then: of a type that users may post."""

    model_config = ConfigDict(extra="forbid", strict=True)

    type: Annotated[Name, Field(description="A type that users may post.", examples=["user.message"])]
    source: Annotated[Name, Field(description="Who says so, a name for people.", examples=["my-app"])] = (
        "schedule"
    )
    userID: Annotated[  # noqa: N815 -- the wire's name
        Name | None, Field(description="Whose; left out, it is the caller's.")
    ] = None
    metadata: Annotated[
        dict[str, Any], Field(description="As its type says.", examples=[{"content": "Good morning!"}])
    ]


class ScheduleNew(When, Policies):
    """An event, when it is to fire, and what becomes of slots that overlap or were missed."""

    event: ScheduledEvent
    description: Annotated[Description | None, Field(description="What it is for.")] = None

    @field_validator("timestamp", "startAt", "endAt")
    @classmethod
    def _has_room(cls, moment: datetime | None) -> datetime | None:
        return None if moment is None else with_room(moment)


class ScheduleChange(BaseModel):
    """What is to change; the rest stays. Null takes away what may be left out.

    One of ``timestamp``, ``cron`` and ``every`` takes the place of the one before.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    event: ScheduledEvent | None = None
    description: Description | None = None
    timestamp: str | None = None
    cron: str | None = None
    every: float | str | None = None
    timezone: str | None = None
    startAt: str | None = None  # noqa: N815 -- the wire's name
    endAt: str | None = None  # noqa: N815 -- the wire's name
    jitter: float | str | None = None
    overlap: str | None = None
    catchUp: str | None = None  # noqa: N815 -- the wire's name
    catchUpWindow: float | str | None = None  # noqa: N815 -- the wire's name

    @field_validator("timestamp", "startAt", "endAt")
    @classmethod
    def _has_room(cls, said: str | None) -> str | None:
        # here and not where the change is read with the rest, which is as it was stored
        if said is not None:
            with_room(read_moment(said))
        return said


class BackfillNew(BaseModel):
    """Whose slots are to fire once more: those from one moment to another, both included."""

    model_config = ConfigDict(extra="forbid", strict=True)

    startAt: Annotated[  # noqa: N815 -- the wire's name
        Moment, Field(description="RFC 3339.", examples=["2026-01-01T00:00:00Z"])
    ]
    endAt: Annotated[  # noqa: N815 -- the wire's name
        Moment, Field(description="RFC 3339, not in the future.", examples=["2026-01-31T00:00:00Z"])
    ]
    overlap: Annotated[Overlap, Field(description="What holds for these slots.")] = "queue"

    @field_validator("startAt", "endAt")
    @classmethod
    def _has_room(cls, moment: datetime) -> datetime:
        return with_room(moment)


class ScheduledShown(BaseModel):
    """The event that a schedule fires."""

    type: Annotated[str, Field(examples=["user.message"])]
    source: str
    metadata: Annotated[dict[str, Any], Field(examples=[{"content": "Good morning!"}])]


class ScheduleShown(BaseModel):
    """A schedule, as its owner sees it."""

    id: str
    userID: str  # noqa: N815 -- the wire's name
    event: ScheduledShown
    timestamp: Annotated[str | None, Field(description="Once, then.", examples=[None])]
    cron: Annotated[str | None, Field(description="In normal form.", examples=["0 9 * * 1-5"])]
    every: Annotated[float | None, Field(description="Seconds between two slots.", examples=[None])]
    timezone: Annotated[str, Field(examples=["Europe/Berlin"])]
    startAt: Annotated[str | None, Field(examples=[None])]  # noqa: N815 -- the wire's name
    endAt: Annotated[str | None, Field(examples=[None])]  # noqa: N815 -- the wire's name
    jitter: Annotated[float, Field(description="Seconds.", examples=[0])]
    overlap: Overlap
    catchUp: Literal["none", "latest", "all"]  # noqa: N815 -- the wire's name
    catchUpWindow: Annotated[float, Field(description="Seconds.", examples=[86400])]  # noqa: N815 -- the wire's
    description: Annotated[str | None, Field(examples=[None])]
    state: Annotated[
        Literal["active", "paused", "ended"], Field(description="Ended when nothing fires any more.")
    ]
    reason: Annotated[
        str | None,
        Field(description="Why it is paused, or did not fire, where the platform did it.", examples=[None]),
    ]
    nextFires: Annotated[  # noqa: N815 -- the wire's name
        list[str],
        Field(
            description="When it fires next, by the clocks of its time zone: five times, in a list one.",
            examples=[["2026-02-02T09:00:00+01:00"]],
        ),
    ]
    fired: Annotated[int, Field(description="Slots that were handed over to fire.", examples=[0])]
    missed: Annotated[int, Field(description="Slots that did not fire.", examples=[0])]
    createdAt: str  # noqa: N815 -- the wire's name
    updatedAt: str  # noqa: N815 -- the wire's name


class FireShown(BaseModel):
    """A slot that came, and what became of it."""

    id: Annotated[str, Field(description="Id of its `schedule.tick`.")]
    seq: int
    slot: Annotated[
        str,
        Field(
            description="Its name: what the clocks of the time zone show then.",
            examples=["2026-02-02T09:00:00[Europe/Berlin]"],
        ),
    ]
    plannedAt: Annotated[  # noqa: N815 -- the wire's name
        str, Field(description="When it was to fire (RFC 3339).", examples=["2026-02-02T08:00:00Z"])
    ]
    reason: Literal["due", "missed", "now", "backfill"]
    recordedAt: str  # noqa: N815 -- the wire's name
    outcome: Annotated[
        Literal["waiting", "fired", "skipped", "dead", "cancelled"],
        Field(description="Waiting for its moment or turn until it is something else."),
    ]
    events: Annotated[list[str], Field(description="Ids of the events that it fired.", examples=[[]])]
    error: Annotated[ProblemShown | None, Field(examples=[None])]


class ScheduleWithFires(ScheduleShown):
    """A schedule with its latest slots, newest first."""

    fires: list[FireShown]


class SchedulePage(BaseModel):
    """A page of schedules; ``next`` is the ``page`` of the page behind it."""

    schedules: list[ScheduleShown]
    next: Annotated[str | None, Field(examples=[None])]


class FirePage(BaseModel):
    """A page of slots, newest first; ``next`` is the ``before`` of the page behind it."""

    fires: list[FireShown]
    next: Annotated[int | None, Field(examples=[None])]


class ScheduleChoice(BaseModel):
    """Which page of the schedules."""

    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    page: Annotated[str | None, Field(description="The `next` of the page before.")] = None


class FireChoice(BaseModel):
    """Which of a schedule's slots."""

    before: Annotated[int | None, Field(ge=1, le=MAX_PLACE, description="Only those before this `seq`.")] = (
        None
    )
    limit: Annotated[int, Field(ge=1, le=MAX_FIRES, description="At most so many.")] = 20
