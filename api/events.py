"""`/api/events`: post an event, read one, list one's own."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Annotated, cast, get_args

from pydantic import BaseModel, Field, WithJsonSchema
from starlette.requests import Request
from starlette.responses import Response

from api.accepting import checked_key
from api.cloudevents import BATCH, STRUCTURED, CloudEvent
from api.operation import Operation
from api.platform import Platform
from api.posting import ACCEPTED, MULTI_STATUS, accept_batch, acceptor, read_posted
from api.requests import JSON, authenticated, check_scope, platform, respond, whole_number
from api.shown import BatchShown, EventPage, EventShown, EventWithOutputs
from lightning.errors import InvalidRequest, NotFound
from lightning.events import TYPES, Envelope, EventDocument, State
from lightning.log import public
from lightning.storage import Where
from lightning.strict_json import Json
from lightning.tasks import works_on_repository

MAX_PAGE = 200

#: The largest ``seq`` that every JSON reader keeps exactly (RFC 8259, section 6).
MAX_PLACE = 2**53

#: The longest wait for an event's end in one request.
MAX_WAIT_SECONDS = 60

#: A waiting request looks by itself after so long at first, then twice as long each time up to the second.
FIRST_LOOK_SECONDS = 0.05
LOOK_SECONDS = 1.0
SOON_SECONDS = 0.005


async def post_event(request: Request) -> Response:
    """Accept an event, or a batch of up to 50: 202 once all is recorded durably.

    In a batch each event is for itself: when one is refused, the answer is 207 and says of each what
    became of it. The body of a batch has at most 1 MiB, each event in it 256 KiB. With an
    ``Idempotency-Key``, an event of a batch is known again by the key and its place.

    CloudEvents 1.0 are taken in structured, binary and batched mode. ``data`` is the metadata, ``time`` the
    timestamp and the extension ``userid`` the userID (yours by default). Source and id together are the
    idempotency key. Pointers of problems lead into the event's JSON format, in binary mode too.
    """
    claims = await authenticated(request)
    posted = await read_posted(request)
    accept_one = acceptor(request, claims, posted)
    if not posted.is_batch:
        event = await accept_one(posted.value, None)
        return respond(public(event), ACCEPTED, {"location": f"/api/events/{event['id']}"})
    # a batch of CloudEvents may be empty (HTTP binding, section 3.3.2)
    least = 0 if posted.are_cloudevents else 1
    answer = await accept_batch(cast("list[Json]", posted.value), accept_one, least=least)
    refused = any(item["status"] != ACCEPTED for item in answer["items"])
    return respond(answer, MULTI_STATUS if refused else ACCEPTED)


async def get_event(request: Request) -> Response:
    """Show one event of the caller's, with what followed from it.

    With ``?wait=SECONDS`` the answer waits until the event is over, or so long.
    """
    claims = await authenticated(request)
    parts = platform(request)
    log = parts.log
    seconds = whole_number(request, "wait", 0, highest=MAX_WAIT_SECONDS)
    event = await _when_over(parts, claims.subject, request.path_params["id"], seconds)
    if event is None:
        raise NotFound("there is no such event, or it is not yours")
    outputs = [await log.get(claims.subject, output) for output in event["outputs"]]
    shown = [
        {name: output[name] for name in ("id", "type", "state", "metadata")}
        for output in outputs
        if output is not None
    ]
    return respond({**public(event), "outputs": shown})


async def _when_over(parts: Platform, user_id: str, event_id: str, seconds: float) -> EventDocument | None:
    """Read an event until it is over: at every notification, and by ourselves ever more rarely."""
    deadline = asyncio.get_running_loop().time() + seconds
    pause = FIRST_LOOK_SECONDS
    with parts.hub.reader(user_id) as news:
        while True:
            news.clear()
            event = await parts.log.get(user_id, event_id)
            left = deadline - asyncio.get_running_loop().time()
            if event is None or event["state"] != "accepted" or left <= 0 or parts.stopping:
                return event
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await news.wait()
            # a notification may come just before the commit that it speaks of
            pause = SOON_SECONDS if news.is_set() else min(pause * 2, LOOK_SECONDS)


async def list_events(request: Request) -> Response:
    """List the caller's events by their place in the log, a page at a time.

    A page of large events has fewer than ``limit``: only ``next`` tells whether there are more.
    """
    claims = await authenticated(request)
    after = whole_number(request, "after", 0, highest=MAX_PLACE)
    limit = whole_number(request, "limit", 50, lowest=1, highest=MAX_PAGE)
    one_of(request, "type", TYPES)
    one_of(request, "state", get_args(State))
    where = [
        Where(field, "=", request.query_params[field])
        for field in ("type", "state", "conversationID", "root")
        if field in request.query_params
    ]
    events = await platform(request).log.events(claims.subject, where, after=after, limit=limit)
    return respond(
        {
            "events": [public(event) for event in events],
            "next": events[-1]["seq"] if events.more else None,
        }
    )


async def cancel_event(request: Request) -> Response:
    """Stop an event of the caller's, and all that follows from where it came from."""
    claims = await authenticated(request)
    parts = platform(request)
    event = await parts.dispatch.cancel(claims.subject, request.path_params["id"], by=claims.subject)
    parts.hub.wake(claims.subject)
    return respond(public(event))


async def replay_event(request: Request) -> Response:
    """Have an event of the caller's worked on once more.

    It needs the scope that the route needs which brings such an event about: that of webhooks for a delivery,
    that of conversations for a deletion, that of repositories too for a task that works on one. An event of
    the platform's own is replayed when it is dead only.
    """
    claims = await authenticated(request)
    parts = platform(request)
    event = await parts.log.get(claims.subject, request.path_params["id"])
    if event is not None and event["type"] in TYPES:
        check_scope(claims, TYPES[event["type"]].scope)
        if works_on_repository(event["type"], event["metadata"]):
            check_scope(claims, "repos:write")
    key = checked_key(request.headers.get("idempotency-key"))
    event = await parts.dispatch.replay(claims.subject, request.path_params["id"], key=key, by=claims.subject)
    parts.hub.wake(claims.subject)
    return respond(public(event), 202, {"location": f"/api/events/{event['id']}"})


async def discard_event(request: Request) -> Response:
    """Let a dead event of the caller's count as cancelled, so that nobody has to look at it again.

    Why it died stays with it, and what followed from it goes on.
    """
    claims = await authenticated(request)
    parts = platform(request)
    event = await parts.log.interventions.discard(
        claims.subject, request.path_params["id"], by=claims.subject
    )
    parts.hub.wake(claims.subject)
    return respond(public(event))


def one_of(request: Request, name: str, known: Collection[str]) -> None:
    """Check a query parameter that is one of some words, if it is there.

    Raises:
      InvalidRequest: It is another word, which no event could match.
    """
    word = request.query_params.get(name)
    if word is not None and word not in known:
        raise InvalidRequest(f"the parameter {name} is one of {', '.join(known)}", code="invalid_parameter")


class Waiting(BaseModel):
    """Whether to wait for an event's end."""

    wait: Annotated[
        int, Field(ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for the event to be over.")
    ] = 0


class Choice(BaseModel):
    """Which of the caller's events are listed."""

    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `seq` to begin behind.")] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    type: Annotated[
        str | None,
        WithJsonSchema({"type": "string", "enum": sorted(TYPES), "description": "Only those of this type."}),
    ] = None
    state: Annotated[State | None, Field(description="Only those in this state.")] = None
    conversationID: Annotated[  # noqa: N815 -- the wire's name
        str | None, Field(description="Only those of this conversation.")
    ] = None
    root: Annotated[str | None, Field(description="Only those that this event began, and itself.")] = None


ROUTES = (
    Operation(
        "POST",
        "/api/events",
        post_event,
        summary="Accept an event, or a batch of up to 50: 202 once all is recorded durably.",
        scope="events:write",
        body={JSON: Envelope | list[Envelope], STRUCTURED: CloudEvent, BATCH: list[CloudEvent]},
        headers={
            "Idempotency-Key": "The same key with the same event answers with the first one. CloudEvents"
            " have their source and id instead.",
        },
        answers={ACCEPTED: EventShown | BatchShown, MULTI_STATUS: BatchShown},
        answer_headers={"Location": "The path of the event, where one was posted."},
        problems={
            400: ("invalid_idempotency_key", "invalid_header", "unsupported_specversion"),
            403: ("foreign_user", "platform_event"),
            409: ("id_taken", "conversation_busy", "conversation_full", "conversation_deleted"),
            415: ("unsupported_media_type",),
            422: (
                "unknown_type",
                "timestamp_in_future",
                "output_too_large",
                "batch_size",
                "unsupported_data",
            ),
            431: ("headers_too_large",),
        },
    ),
    Operation(
        "GET",
        "/api/events",
        list_events,
        summary="List the caller's events by their place in the log, a page at a time.",
        scope="events:read",
        query=Choice,
        answers={200: EventPage},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "GET",
        "/api/events/{id}",
        get_event,
        summary="Show one event of the caller's, with what followed from it.",
        scope="events:read",
        query=Waiting,
        answers={200: EventWithOutputs},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "POST",
        "/api/events/{id}/cancel",
        cancel_event,
        summary="Stop an event of the caller's, and all that follows from where it came from.",
        scope="events:write",
        answers={200: EventShown},
        problems={409: ("already_over", "not_cancellable")},
    ),
    Operation(
        "POST",
        "/api/events/{id}/replay",
        replay_event,
        summary="Have an event worked on once more: a dead one itself, another as a new event (`replayOf`).",
        scope="events:write",
        headers={"Idempotency-Key": "The same key answers with the same new event."},
        answers={202: EventShown},
        problems={
            400: ("invalid_idempotency_key",),
            403: ("platform_event",),
            409: ("not_over", "erased", "conversation_full", "conversation_deleted", "id_taken"),
        },
    ),
    Operation(
        "POST",
        "/api/events/{id}/discard",
        discard_event,
        summary="Let a dead event of the caller's count as cancelled: it waits for nobody any more.",
        scope="events:write",
        answers={200: EventShown},
        problems={409: ("not_dead", "not_cancellable")},
    ),
)
