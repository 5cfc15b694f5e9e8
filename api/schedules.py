"""`/api/schedule` and `/api/schedules`: events that fire later, once or over and over."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from api.accepting import check_may_post, checked_key
from api.events import whole_number
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, check_scope, platform, read_json, respond
from api.schedule_access import UNREADABLE, own, read
from api.schedule_forms import (
    MAX_PAGE,
    ScheduleChange,
    ScheduleChoice,
    ScheduledEvent,
    ScheduleNew,
    SchedulePage,
    ScheduleShown,
    ScheduleWithFires,
)
from api.schedule_shown import fire_shown, shown
from lightning.domain.fires import fires_of
from lightning.domain.schedule import Schedule, Scheduled
from lightning.domain.tokens import Claims
from lightning.domain.when import Policies, When, now_utc, stored
from lightning.errors import Forbidden, InvalidEvent, InvalidRequest
from lightning.events import TYPES, Envelope, now_text, read_envelope
from lightning.ids import keyed_id, new_id
from lightning.strict_json import Json
from lightning.telemetry import carrier

#: Fires that are told with a schedule; `/fires` tells all.
LATEST_FIRES = 10

_ONE_OF = ("timestamp", "cron", "every")


async def create_schedule(request: Request) -> Response:
    """Make a schedule: an event, and when it is to fire.

    The event is checked as if it were posted now, and asks for the same scope. With an `Idempotency-Key`, the
    same schedule under it is no new one.
    """
    claims = await authenticated(request)
    raw = await read_json(request)
    form = read(ScheduleNew, raw)
    user_id, event = _event(form.event, claims)
    key = checked_key(request.headers.get("idempotency-key"))
    now = now_utc()
    draft = Schedule(
        id=new_id() if key is None else keyed_id(user_id, key),
        user_id=user_id,
        event=event,
        when=_part(When, form),
        said_at=now,
        policies=_part(Policies, form),
        description=form.description,
        trace=carrier.current(),
        fingerprint=None if key is None else _fingerprint(raw),
    )
    made = await platform(request).schedules.create(draft)
    await platform(request).handover.soon(made, now_utc())
    return respond(shown(made), 201, {"location": f"/api/schedules/{made.id}"})


async def list_schedules(request: Request) -> Response:
    """List the caller's schedules, a page at a time; each tells its next fire only."""
    claims = await authenticated(request)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    try:
        found, following = await platform(request).schedules.of(
            claims.subject, limit=limit, page=request.query_params.get("page")
        )
    except ValueError:
        raise InvalidRequest(
            "the parameter page is the next of another page", code="invalid_parameter"
        ) from None
    return respond({"schedules": [shown(each, foreseen=1) for each in found], "next": following})


async def get_schedule(request: Request) -> Response:
    """Show one schedule of the caller's, with its next fires and its latest ones."""
    _, schedule = await own(request)
    found = await fires_of(platform(request).log, schedule.user_id, schedule.id, limit=LATEST_FIRES)
    return respond({**shown(schedule), "fires": [fire_shown(each) for each in found.ticks]})


async def change_schedule(request: Request) -> Response:
    """Change a schedule from now on: what was to fire by its old plan, and had not, does not any more."""
    claims, schedule = await own(request)
    form = read(ScheduleChange, await read_json(request))
    given = form.model_dump(exclude_unset=True)
    event: Scheduled | None = None
    if form.event is not None:
        theirs = form.event.model_copy(update={"userID": form.event.userID or schedule.user_id})
        user_id, event = _event(theirs, claims)
        if user_id != schedule.user_id:
            message = "a schedule stays with whom it was made for; make another one for somebody else"
            raise Forbidden(message, code="foreign_user", pointer="/event/userID")
    # what is wrong with it as a whole is told before anything is written
    _changed(schedule, given, event)
    made = await platform(request).schedules.change(
        schedule.user_id, schedule.id, lambda before: _changed(before, given, event)
    )
    await platform(request).handover.soon(made, now_utc())
    return respond(shown(made))


async def delete_schedule(request: Request) -> Response:
    """Remove a schedule; what it fired stays in the log."""
    claims = await authenticated(request)
    await platform(request).schedules.delete(claims.subject, request.path_params["schedule"])
    return Response(status_code=204)


async def pause_schedule(request: Request) -> Response:
    """Let a schedule fire nothing until it is resumed."""
    _, schedule = await own(request)
    return respond(shown(await platform(request).schedules.pause(schedule.user_id, schedule.id)))


async def resume_schedule(request: Request) -> Response:
    """Let a schedule fire again from now on; what it did not fire meanwhile is not made up for."""
    _, schedule = await own(request)
    return respond(shown(await resume(platform(request), schedule)))


async def resume(parts: Platform, schedule: Schedule) -> Schedule:
    """Let a schedule fire again, also where its next slot comes before the clock looks again."""
    made = await parts.schedules.resume(schedule.user_id, schedule.id)
    await parts.handover.soon(made, now_utc())
    return made


def _event(form: ScheduledEvent, claims: Claims) -> tuple[str, Scheduled]:
    """Check an event as if it were posted now.

    Returns:
      Whose it is, and the event in normal form.
    """
    raw = {**form.model_dump(), "userID": form.userID or claims.subject, "timestamp": now_text()}
    try:
        envelope: Envelope = read_envelope(raw)
        check_may_post(envelope, claims)
    except (InvalidEvent, Forbidden) as error:
        if error.pointer is not None:
            error.pointer = f"/event{error.pointer}"
        raise
    # who may not post it must not have a schedule do so
    check_scope(claims, TYPES[envelope.type].scope)
    return envelope.userID, Scheduled(envelope.type, envelope.source, envelope.metadata)


def _changed(before: Schedule, given: Mapping[str, Any], event: Scheduled | None) -> Schedule:
    """Give a schedule with what somebody wants to be different."""
    said: dict[str, Any] = {**stored(before.when), **stored(before.policies)}
    if any(given.get(name) is not None for name in _ONE_OF):
        said = {name: value for name, value in said.items() if name not in _ONE_OF}
    said |= {name: value for name, value in given.items() if name not in {"event", "description"}}
    said = {name: value for name, value in said.items() if value is not None}
    return replace(
        before,
        when=read(When, {name: said[name] for name in When.model_fields if name in said}),
        policies=read(Policies, {name: said[name] for name in Policies.model_fields if name in said}),
        event=event or before.event,
        description=given.get("description", before.description),
    )


Part = TypeVar("Part", bound=BaseModel)


def _part(model: type[Part], form: ScheduleNew) -> Part:
    """Give the part of a form that a model of its own describes."""
    said = form.model_dump(mode="json", exclude_none=True, include=set(model.model_fields))
    return model.model_validate(said)


def _fingerprint(raw: Json) -> str:
    return hashlib.sha256(orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)).hexdigest()


_EVENT = ("invalid_field", "never_fires", "unknown_type")

ROUTES = (
    Operation(
        "POST",
        "/api/schedule",
        create_schedule,
        summary="Have an event fire later: once, by a cron expression, or over and over.",
        scope="schedules:write",
        body=ScheduleNew,
        headers={"Idempotency-Key": "The same schedule under the same key is no new one."},
        answers={201: ScheduleShown},
        problems={
            400: ("invalid_idempotency_key",),
            403: ("foreign_user", "platform_event"),
            409: ("too_many_schedules", "id_taken", *UNREADABLE),
            422: _EVENT,
        },
    ),
    Operation(
        "GET",
        "/api/schedules",
        list_schedules,
        summary="List the caller's schedules.",
        scope="schedules:read",
        query=ScheduleChoice,
        answers={200: SchedulePage},
    ),
    Operation(
        "GET",
        "/api/schedules/{schedule}",
        get_schedule,
        summary="Show a schedule, when it fires next, and what it fired last.",
        scope="schedules:read",
        answers={200: ScheduleWithFires},
        problems={409: UNREADABLE},
    ),
    Operation(
        "PATCH",
        "/api/schedules/{schedule}",
        change_schedule,
        summary="Change a schedule from now on.",
        scope="schedules:write",
        body=ScheduleChange,
        answers={200: ScheduleShown},
        problems={
            403: ("foreign_user", "platform_event"),
            409: ("too_many_schedules", *UNREADABLE),
            422: _EVENT,
        },
    ),
    Operation(
        "POST",
        "/api/schedules/{schedule}/pause",
        pause_schedule,
        summary="Let a schedule fire nothing until it is resumed.",
        scope="schedules:write",
        answers={200: ScheduleShown},
        problems={409: UNREADABLE},
    ),
    Operation(
        "POST",
        "/api/schedules/{schedule}/resume",
        resume_schedule,
        summary="Let a schedule fire again from now on.",
        scope="schedules:write",
        answers={200: ScheduleShown},
        problems={409: UNREADABLE},
    ),
    Operation(
        "DELETE",
        "/api/schedules/{schedule}",
        delete_schedule,
        summary="Remove a schedule; what it fired stays.",
        scope="schedules:write",
        answers={204: None},
    ),
)
