"""A schedule: what it fires, when, and how it stands in the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from lightning.domain.firing import Plan, text
from lightning.domain.when import Policies, When, stored
from lightning.events import Draft, Overlap, now_text
from lightning.ids import tick_id

SOURCE: Final = "lightning.schedules"

#: Marks what the platform makes by itself: found again, it is the same.
FINGERPRINT: Final = "schedule.tick"

State = Literal["active", "paused", "ended"]
Reason = Literal["due", "missed", "now", "backfill"]


@dataclass(frozen=True, slots=True)
class Scheduled:
    """The event that a schedule fires.

    Parameters:
      type: One that users may post.
      source: Who speaks, a name for people.
      metadata: In normal form.
    """

    type: str
    source: str
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule of a user's.

    Parameters:
      id: Its id.
      user_id: Whose.
      event: What it fires.
      when: When, as its owner said it.
      said_at: When that was said, in UTC.
      revision: Which saying of it that was; ticks of others do not fire.
      policies: What becomes of slots that overlap or were missed.
      description: What it is for, in its owner's words.
      state: ``ended`` when nothing is to fire any more.
      reason: Why it is paused, or did not fire, if the platform did it.
      next: The first slot that is not settled; None while it is paused, or when it has ended.
      fired: How many slots were handed over to fire.
      missed: How many were not, as nobody fired them when they were due.
      created_at: RFC 3339.
      updated_at: RFC 3339.
      trace: The W3C trace context in which it was made.
      fingerprint: Hash of what a client sent with an idempotency key.
    """

    id: str
    user_id: str
    event: Scheduled
    when: When
    said_at: datetime
    policies: Policies
    description: str | None = None
    revision: int = 1
    state: State = "active"
    reason: str | None = None
    next: datetime | None = None
    fired: int = 0
    missed: int = 0
    created_at: str = field(default_factory=now_text)
    updated_at: str = field(default_factory=now_text)
    trace: dict[str, str] = field(default_factory=dict[str, str])
    fingerprint: str | None = None

    @property
    def plan(self) -> Plan:
        """The arithmetic of its slots."""
        return self.when.plan(self.id, self.said_at)

    def from_now(self, now: datetime) -> "Schedule":
        """Give it as it is from now on: what was to fire before does not any more."""
        if self.state == "paused":
            return replace(self, next=None)
        following = self.plan.next(now)
        return replace(self, next=following, state="ended" if following is None else "active")

    def tick(
        self,
        slot: datetime,
        reason: Reason,
        now: datetime,
        trace: dict[str, str],
        *,
        within: str | None = None,
        overlap: Overlap | None = None,
    ) -> Draft:
        """Make the event that says that a slot has come, or is about to.

        Parameters:
          slot: Which.
          reason: Why it fires.
          now: The present moment.
          trace: Where it belongs.
          within: The event that asks for the slot once more; the slot fires anew within each.
          overlap: What holds for it instead of what the schedule says.
        """
        name = self.plan.label(slot)
        due = self.plan.due(slot) if within is None else slot
        metadata: dict[str, Any] = {
            "scheduleID": self.id,
            "slot": name,
            "plannedAt": text(due),
            "revision": self.revision,
            "reason": reason,
        }
        if overlap is not None:
            metadata["overlap"] = overlap
        return Draft(
            id=tick_id(self.id, f"{within or self.revision} {name}"),
            type="schedule.tick",
            source=SOURCE,
            metadata=metadata,
            timestamp=now_text(),
            trace=trace,
            fingerprint=FINGERPRINT,
            after_seconds=max(0.0, (due - now).total_seconds()),
        )


def to_document(schedule: Schedule) -> dict[str, Any]:
    """Write a schedule down; ``dueAt``, in Unix seconds, is there while it is to fire."""
    return {
        "id": schedule.id,
        "userID": schedule.user_id,
        "kind": "schedule",
        "event": {
            "type": schedule.event.type,
            "source": schedule.event.source,
            "metadata": schedule.event.metadata,
        },
        "when": stored(schedule.when),
        "saidAt": text(schedule.said_at),
        "policies": stored(schedule.policies),
        "description": schedule.description,
        "revision": schedule.revision,
        "state": schedule.state,
        "reason": schedule.reason,
        "next": None if schedule.next is None else text(schedule.next),
        "dueAt": None if schedule.next is None else schedule.plan.due(schedule.next).timestamp(),
        "fired": schedule.fired,
        "missed": schedule.missed,
        "createdAt": schedule.created_at,
        "updatedAt": schedule.updated_at,
        "trace": schedule.trace,
        "fingerprint": schedule.fingerprint,
    }


def from_document(body: Mapping[str, Any]) -> Schedule:
    """Read a schedule.

    Raises:
      ValueError: It was valid when it was written, and is not any more: its time zone is gone.
    """
    return Schedule(
        id=body["id"],
        user_id=body["userID"],
        event=Scheduled(**body["event"]),
        when=When.model_validate(body["when"]),
        said_at=datetime.fromisoformat(body["saidAt"]).astimezone(UTC),
        policies=Policies.model_validate(body["policies"]),
        description=body["description"],
        revision=body["revision"],
        state=body["state"],
        reason=body["reason"],
        next=None if body["next"] is None else datetime.fromisoformat(body["next"]).astimezone(UTC),
        fired=body["fired"],
        missed=body["missed"],
        created_at=body["createdAt"],
        updated_at=body["updatedAt"],
        trace=body["trace"],
        fingerprint=body["fingerprint"],
    )
