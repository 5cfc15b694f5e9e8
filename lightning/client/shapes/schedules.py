"""Schedules, and when they fired."""

from typing import Any, Literal, NotRequired, TypedDict


class ScheduledEvent(TypedDict):
    """The event that a schedule fires."""

    type: str
    source: str
    metadata: dict[str, Any]


class Fire(TypedDict):
    """A slot of a schedule that came, and what became of it."""

    id: str
    seq: int
    slot: str
    plannedAt: str
    reason: Literal["due", "missed", "now", "backfill"]
    recordedAt: str
    outcome: Literal["waiting", "fired", "skipped", "dead", "cancelled"]
    events: list[str]
    error: dict[str, str] | None


class FirePage(TypedDict):
    """A page of slots, newest first; ``next`` is the ``before`` of the page behind it."""

    fires: list[Fire]
    next: int | None


class Schedule(TypedDict):
    """A schedule; ``fires`` is there where it is read alone."""

    id: str
    userID: str
    event: ScheduledEvent
    timestamp: str | None
    cron: str | None
    every: float | None
    timezone: str
    startAt: str | None
    endAt: str | None
    jitter: float
    overlap: Literal["skip", "queue", "allow", "cancel-previous"]
    catchUp: Literal["none", "latest", "all"]
    catchUpWindow: float
    description: str | None
    state: Literal["active", "paused", "ended"]
    reason: str | None
    nextFires: list[str]
    fired: int
    missed: int
    createdAt: str
    updatedAt: str
    fires: NotRequired[list[Fire]]


class SchedulePage(TypedDict):
    """A page of schedules; ``next`` is the ``page`` of the page behind it."""

    schedules: list[Schedule]
    next: str | None
