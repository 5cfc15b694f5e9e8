"""The schedules of all users, and which of them are due.

A user's schedules stand in their partition, beside a document that counts those that are not over. Whatever
changes one does it on its etag. Only the clock looks for those that are due, by an index in which what is
paused or over does not stand.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from lightning.domain.firing import Decision, text
from lightning.domain.schedule import Schedule, from_document, to_document
from lightning.domain.when import When
from lightning.errors import Conflict, InvalidEvent, NotFound, PreconditionFailed
from lightning.events import now_text
from lightning.storage import Create, Delete, Operation, Page, Replace, Storage, Stored, Upsert, Where

CONTAINER: Final = "schedules"
_COUNT_ID: Final = "count"

#: The name of the pause that the platform makes where a schedule cannot be understood any more.
UNREADABLE: Final = "its plan cannot be read any more; delete it, and make it anew"

#: Why a schedule did not fire, though it is active.
DISABLED: Final = "its account was disabled when its latest slot came, so nothing fired"

Change = Callable[[Schedule], Schedule]


@dataclass(frozen=True, slots=True)
class Schedules:
    """The schedules.

    Parameters:
      storage: Where they stand.
      most_per_user: So many of one user's may be active or paused.
      clock: The present moment in seconds since 1970.
    """

    storage: Storage
    most_per_user: int = 1000
    clock: Callable[[], float] = time.time

    def now(self) -> datetime:
        """Give the present moment in UTC."""
        return datetime.fromtimestamp(self.clock(), UTC)

    async def create(self, draft: Schedule) -> Schedule:
        """Write a new schedule down, with its first slot.

        Parameters:
          draft: The schedule; one of the same id and fingerprint was made before, and is given as it stands.

        Raises:
          InvalidEvent: It would never fire (``never_fires``).
          Conflict: The user has as many as one may have (``too_many_schedules``), or another one was made
            under this key (``id_taken``).
        """
        made = _to_fire(draft.from_now(self.now()))
        try:
            await self._move_count(made.user_id, 1, lambda: [Create(to_document(made))])
        except Conflict as conflict:
            if conflict.pointer != made.id:
                raise
            first = await self.get(made.user_id, made.id)
            if draft.fingerprint is None or first.fingerprint != draft.fingerprint:
                raise Conflict("another schedule was made under this key", code="id_taken") from None
            return first
        return made

    async def get(self, user_id: str, id: str) -> Schedule:
        """Read one schedule of a user's.

        Raises:
          NotFound: The user has no such schedule.
          Conflict: It cannot be read any more (``unreadable_schedule``).
        """
        return _read(await self._stored(user_id, id))

    async def of(
        self, user_id: str | None, *, limit: int, page: str | None = None
    ) -> tuple[list[Schedule], str | None]:
        """List a user's schedules, or with None everybody's, and give the token of the next page.

        What cannot be read any more is left out.

        Raises:
          ValueError: The page token is none of ours.
        """
        found = await self.storage.query(
            CONTAINER, user_id, [Where("kind", "=", "schedule")], limit=limit, page=page
        )
        readable: list[Schedule] = []
        for each in found.items:
            with suppress(Conflict):
                readable.append(_read(each))
        return readable, found.next

    async def change(self, user_id: str, id: str, change: Change) -> Schedule:
        """Change a schedule; what it was to fire before, and had not, it does not fire any more.

        Parameters:
          user_id: Whose.
          id: Which.
          change: Makes the new one of the old, without ``next``; may be called more than once.

        Raises:
          NotFound: The user has no such schedule.
          InvalidEvent: It would never fire (``never_fires``).
          Conflict: It had ended, and is one too many now (``too_many_schedules``).
        """
        while True:
            stored = await self._stored(user_id, id)
            before = _read(stored)
            wanted = change(before)
            if wanted.when != before.when:
                # ticks of what was said before, which may be on their way, do not fire
                wanted = replace(wanted, said_at=self.now(), revision=before.revision + 1)
                wanted = replace(wanted, state="active") if before.state == "ended" else wanted
            plan_changed = wanted.when != before.when or wanted.state != before.state
            made = wanted.from_now(self.now()) if plan_changed else wanted
            if wanted.when != before.when and wanted.state != "paused":
                made = _to_fire(made)
            made = replace(made, updated_at=now_text())
            try:
                await self._write(made, stored, before)
            except PreconditionFailed:
                continue
            return made

    async def pause(self, user_id: str, id: str) -> Schedule:
        """Let a schedule fire nothing until it is resumed; one that has ended stays as it is.

        Raises:
          NotFound: The user has no such schedule.
        """

        def paused(schedule: Schedule) -> Schedule:
            return schedule if schedule.state == "ended" else replace(schedule, state="paused")

        return await self.change(user_id, id, paused)

    async def resume(self, user_id: str, id: str) -> Schedule:
        """Let a schedule fire again from now on; what it did not fire while it was paused is not made up for.

        Raises:
          NotFound: The user has no such schedule.
        """

        def active(schedule: Schedule) -> Schedule:
            return replace(schedule, state="active", reason=None) if schedule.state == "paused" else schedule

        return await self.change(user_id, id, active)

    async def delete(self, user_id: str, id: str) -> None:
        """Remove a schedule; what it fired stays, and ticks that are on their way do not fire.

        Raises:
          NotFound: The user has no such schedule.
        """
        while True:
            stored = await self._stored(user_id, id)
            delta = 0 if stored.body["state"] == "ended" else -1
            try:
                await self._move_count(user_id, delta, lambda stored=stored: [Delete(id, stored.etag)])
            except PreconditionFailed:
                continue
            return

    async def due(self, until: float, limit: int, page: str | None = None) -> Page:
        """List schedules of all users that are due up to a moment in Unix seconds, the oldest first."""
        where = [Where("dueAt", "<=", until)]
        return await self.storage.query(CONTAINER, None, where, order_by="dueAt", limit=limit, page=page)

    async def settle(self, stored: Stored, decision: Decision, reason: str | None = None) -> None:
        """Note what was decided about a schedule, whose ticks are recorded.

        Parameters:
          stored: The schedule, as it was when that was decided.
          decision: What was decided.
          reason: Why nothing fires, if the platform forbids it.

        Raises:
          PreconditionFailed: Somebody else was first; nothing was changed.
        """
        before = from_document(stored.body)
        after = replace(
            before,
            next=decision.next,
            state="active" if decision.next is not None else "ended",
            reason=reason,
            fired=before.fired + len(decision.slots),
            missed=before.missed + decision.missed,
        )
        await self._write(after, stored, before)

    async def backfilled(self, user_id: str, event_id: str) -> datetime | None:
        """Give the last slot that a backfill has handed over; None when it has not begun."""
        stored = await self.storage.get(CONTAINER, user_id, _backfill_id(event_id))
        return None if stored is None else datetime.fromisoformat(stored.body["slot"])

    async def note_backfilled(self, user_id: str, event_id: str, slot: datetime) -> None:
        """Note the last slot that a backfill has handed over."""
        body = {
            "id": _backfill_id(event_id),
            "userID": user_id,
            "kind": "schedule.backfill",
            "slot": text(slot),
        }
        await self.storage.batch(CONTAINER, user_id, [Upsert(body)])

    async def forget_backfill(self, user_id: str, event_id: str) -> None:
        """Let nothing stay of a backfill that is over."""
        with suppress(PreconditionFailed):  # it took one look
            await self.storage.batch(CONTAINER, user_id, [Delete(_backfill_id(event_id))])

    async def set_aside(self, stored: Stored) -> None:
        """Pause a schedule that cannot be understood, so that it is not looked at again and again.

        Raises:
          PreconditionFailed: Somebody else was first; nothing was changed.
        """
        body: dict[str, Any] = {
            **stored.body,
            "state": "paused",
            "reason": UNREADABLE,
            "next": None,
            "dueAt": None,
        }
        await self.storage.batch(CONTAINER, stored.body["userID"], [Replace(body, stored.etag)])

    async def _stored(self, user_id: str, id: str) -> Stored:
        stored = await self.storage.get(CONTAINER, user_id, id)
        if stored is None or stored.body["kind"] != "schedule":
            raise _not_found()
        return stored

    async def _write(self, made: Schedule, stored: Stored, before: Schedule) -> None:
        delta = (before.state == "ended") - (made.state == "ended")
        write = Replace(to_document(made), stored.etag)
        if delta:
            await self._move_count(made.user_id, delta, lambda: [write])
        else:
            await self.storage.batch(CONTAINER, made.user_id, [write])

    async def _move_count(self, user_id: str, delta: int, writes: Callable[[], list[Operation]]) -> None:
        """Write something, and count what is not over with it."""

        def build(stored: Stored | None) -> list[Operation]:
            count = (0 if stored is None else stored.body["count"]) + delta
            if delta > 0 and count > self.most_per_user:
                raise Conflict(
                    f"you have {self.most_per_user} schedules; delete one first", code="too_many_schedules"
                )
            body: dict[str, Any] = {
                "id": _COUNT_ID,
                "userID": user_id,
                "kind": "schedule.count",
                "count": max(0, count),
            }
            return [Create(body) if stored is None else Replace(body, stored.etag), *writes()]

        await self.storage.batch_on(CONTAINER, user_id, _COUNT_ID, build)


def _read(stored: Stored) -> Schedule:
    try:
        return from_document(stored.body)
    except ValueError:
        raise Conflict(UNREADABLE, code="unreadable_schedule") from None


def _to_fire(schedule: Schedule) -> Schedule:
    if schedule.state != "ended":
        return schedule
    raise InvalidEvent(
        "it would never fire: that is past; an example is 2030-01-31T09:00:00Z",
        code="never_fires",
        pointer=_culprit(schedule.when),
    )


def _culprit(when: When) -> str:
    if when.timestamp is not None:
        return "/timestamp"
    return "/endAt" if when.endAt is not None else "/cron"


def _backfill_id(event_id: str) -> str:
    return f"backfill-{event_id}"


def _not_found() -> NotFound:
    return NotFound("there is no such schedule, or it is not yours")
