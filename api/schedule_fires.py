"""`/api/schedules/{schedule}/fires`: what schedules fired, and what they are to fire besides."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from api.accepting import checked_key, compound_key
from api.events import MAX_PLACE, whole_number
from api.operation import Operation
from api.platform import Platform
from api.requests import platform, read_json, respond
from api.schedule_access import UNREADABLE, own, read
from api.schedule_forms import MAX_FIRES, BackfillNew, FireChoice, FirePage
from api.schedule_shown import fire_shown
from api.shown import EventShown
from lightning.domain.fires import fires_of
from lightning.domain.firing import MOST_COUNTED, text
from lightning.domain.schedule import SOURCE, Schedule
from lightning.domain.when import now_utc
from lightning.errors import InvalidEvent
from lightning.events import Draft, EventDocument, now_text
from lightning.ids import keyed_id, new_id
from lightning.log import public
from lightning.telemetry import carrier


async def list_fires(request: Request) -> Response:
    """List the slots of a schedule that came, newest first, each with the events that it fired."""
    _, schedule = await own(request)
    before = whole_number(request, "before", MAX_PLACE, lowest=1, highest=MAX_PLACE)
    limit = whole_number(request, "limit", 20, lowest=1, highest=MAX_FIRES)
    found = await fires_of(platform(request).log, schedule.user_id, schedule.id, before=before, limit=limit)
    return respond(
        {
            "fires": [fire_shown(each) for each in found.ticks],
            "next": found.ticks[-1]["seq"] if found.more else None,
        }
    )


async def run_schedule(request: Request) -> Response:
    """Have a schedule fire now, besides its slots, also while it is paused.

    It fires whatever goes on. With an `Idempotency-Key`, the same request again fires nothing more.
    """
    _, schedule = await own(request)
    key = checked_key(request.headers.get("idempotency-key"))
    return _accepted(await fire_now(platform(request), schedule, key))


async def fire_now(parts: Platform, schedule: Schedule, key: str | None = None) -> EventDocument:
    """Have a schedule fire now, whatever goes on; the same key fires nothing more."""
    now = now_utc()
    metadata = {
        "scheduleID": schedule.id,
        "slot": text(now),
        "plannedAt": text(now),
        "revision": schedule.revision,
        "reason": "now",
        "overlap": "allow",
    }
    return await _post(parts, schedule, "schedule.tick", metadata, key)


async def backfill_schedule(request: Request) -> Response:
    """Have the slots between two moments fire once more, those that fired before too, in order.

    By default each waits for the one before it. They are handed over a few at a time; whoever cancels the
    event that this makes stops that.
    """
    _, schedule = await own(request)
    form = read(BackfillNew, await read_json(request))
    if form.endAt < form.startAt:
        message = "endAt is before startAt; an example is 2026-01-31T00:00:00Z"
        raise InvalidEvent(message, code="invalid_field", pointer="/endAt")
    if form.endAt > now_utc():
        message = "the slots to come fire by themselves; an example is 2026-01-31T00:00:00Z"
        raise InvalidEvent(message, code="invalid_field", pointer="/endAt")
    if schedule.plan.count(form.startAt, form.endAt) >= MOST_COUNTED:
        message = f"over {MOST_COUNTED} slots are between the two; ask for fewer at once"
        raise InvalidEvent(message, code="too_many_slots", pointer="/startAt")
    metadata = {
        "scheduleID": schedule.id,
        "startAt": text(form.startAt),
        "endAt": text(form.endAt),
        "overlap": form.overlap,
    }
    key = checked_key(request.headers.get("idempotency-key"))
    return _accepted(await _post(platform(request), schedule, "schedule.backfill", metadata, key))


async def _post(
    parts: Platform, schedule: Schedule, type: str, metadata: dict[str, Any], key: str | None
) -> EventDocument:
    said = f"{type} {schedule.id} {metadata.get('startAt')} {metadata.get('endAt')}"
    draft = Draft(
        id=new_id() if key is None else keyed_id(schedule.user_id, compound_key(type, key)),
        type=type,
        source=SOURCE,
        metadata=metadata,
        timestamp=now_text(),
        trace=carrier.current(),
        fingerprint=None if key is None else said,
    )
    event, _ = await parts.dispatch.accept(schedule.user_id, draft)
    parts.hub.wake(schedule.user_id)
    return event


def _accepted(event: EventDocument) -> Response:
    return respond(public(event), 202, {"location": f"/api/events/{event['id']}"})


ROUTES = (
    Operation(
        "GET",
        "/api/schedules/{schedule}/fires",
        list_fires,
        summary="List what a schedule fired, newest first.",
        scope="schedules:read",
        query=FireChoice,
        answers={200: FirePage},
        problems={409: UNREADABLE},
    ),
    Operation(
        "POST",
        "/api/schedules/{schedule}/run",
        run_schedule,
        summary="Have a schedule fire now, besides its slots.",
        scope="schedules:write",
        headers={"Idempotency-Key": "The same request under the same key fires nothing more."},
        answers={202: EventShown},
        problems={400: ("invalid_idempotency_key",), 409: ("id_taken", *UNREADABLE)},
    ),
    Operation(
        "POST",
        "/api/schedules/{schedule}/backfill",
        backfill_schedule,
        summary="Have slots of the past fire once more.",
        scope="schedules:write",
        body=BackfillNew,
        headers={"Idempotency-Key": "The same request under the same key fires nothing more."},
        answers={202: EventShown},
        problems={
            400: ("invalid_idempotency_key",),
            409: ("id_taken", *UNREADABLE),
            422: ("invalid_field", "too_many_slots"),
        },
    ),
)
