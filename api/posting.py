"""Posted events in all their forms: ours or CloudEvents, one or a batch."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import orjson
import structlog
from opentelemetry import trace
from starlette.requests import Request

from api import cloudevents, problems
from api.accepting import accept, checked_key, compound_key
from api.platform import Platform
from api.requests import JSON, MAX_BODY_BYTES, UnsupportedMediaType, media_type, platform, read_body
from lightning.domain.tokens import Claims
from lightning.errors import InvalidEvent, InvalidRequest, LightningError, Transient
from lightning.events import EventDocument
from lightning.log import public
from lightning.strict_json import Json, TooLarge, loads
from lightning.telemetry import carrier

#: Events of a batch.
MAX_BATCH = 50

#: The largest body of a batch; each of its events has the limit of one.
MAX_BATCH_BYTES = 1024 * 1024

ACCEPTED = 202
MULTI_STATUS = 207  # RFC 4918, section 11.1; the body is ours

#: Accepts one value; its place is None when it is no part of a batch.
Accept = Callable[[Json, int | None], Awaitable[EventDocument]]

_Record = Callable[[Platform, Claims, cloudevents.Mapped], Awaitable[EventDocument]]

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


@dataclass(frozen=True, slots=True)
class Posted:
    """What a request holds.

    Parameters:
      value: The event, or the batch.
      is_batch: Whether it is one.
      are_cloudevents: Whether CloudEvents are meant.
    """

    value: Json
    is_batch: bool = False
    are_cloudevents: bool = False


async def read_posted(request: Request) -> Posted:
    """Read a body in the form that its media type and headers tell.

    Raises:
      UnsupportedMediaType: We take none of that kind.
      InvalidRequest: The body, or a header, cannot be read.
    """
    kind, headers = media_type(request), request.headers.raw
    if kind == cloudevents.BATCH:
        value = await _read_json(request, array_bytes=MAX_BATCH_BYTES)
        if not isinstance(value, list):
            raise InvalidEvent("a batch is an array", code="invalid_field", pointer="")
        return Posted(value, is_batch=True, are_cloudevents=True)
    if kind == cloudevents.STRUCTURED:
        return Posted(await _read_json(request), are_cloudevents=True)
    if cloudevents.is_binary(headers) and cloudevents.is_json(kind):
        return Posted(await _read_binary(request), are_cloudevents=True)
    if kind != JSON:
        raise UnsupportedMediaType(
            f"send {JSON}, {cloudevents.STRUCTURED} or {cloudevents.BATCH} as Content-Type"
        )
    value = await _read_json(request, array_bytes=MAX_BATCH_BYTES)
    return Posted(value, is_batch=isinstance(value, list))


async def _read_json(request: Request, *, array_bytes: int = MAX_BODY_BYTES) -> Json:
    return loads(await read_body(request, array_bytes=array_bytes), max_bytes=array_bytes)


async def _read_binary(request: Request) -> Json:
    event = cloudevents.from_headers(request.headers.raw)
    body = await read_body(request)
    try:
        return {**event, "data": loads(body)} if body else event
    except InvalidRequest as error:
        if error.pointer is not None:
            error.pointer = "/data" + error.pointer
        raise


def acceptor(request: Request, claims: Claims, posted: Posted) -> Accept:
    """Give what accepts each value of a request.

    Raises:
      InvalidRequest: ``invalid_idempotency_key``.
    """
    parts = platform(request)
    key = checked_key(request.headers.get("idempotency-key"))
    if posted.are_cloudevents:
        # the trace of the request, where there is one, is nearer than that of the event
        record = _record if "traceparent" in request.headers else _record_in_its_trace
        return partial(_accept_cloudevent, parts, claims, record)
    return partial(_accept_plain, parts, claims, key)


async def _accept_plain(
    parts: Platform, claims: Claims, key: str | None, value: Json, place: int | None
) -> EventDocument:
    if key is not None and place is not None:
        key = compound_key("batch", key, str(place))
    return await accept(parts, claims, value, key)


async def _accept_cloudevent(
    parts: Platform, claims: Claims, record: _Record, value: Json, _place: int | None
) -> EventDocument:
    event = cloudevents.mapped(value, claims.subject)
    try:
        return await record(parts, claims, event)
    except LightningError as error:
        pointer = "/id" if error.code == "id_taken" else error.pointer
        error.pointer = None if pointer is None else cloudevents.own_pointer(pointer)
        raise


async def _record(parts: Platform, claims: Claims, event: cloudevents.Mapped) -> EventDocument:
    return await accept(parts, claims, event.raw, event.key, said=event.said)


async def _record_in_its_trace(parts: Platform, claims: Claims, event: cloudevents.Mapped) -> EventDocument:
    """Continue the trace that the event brings along."""
    context = carrier.parent(event.trace)
    if not trace.get_current_span(context).get_span_context().is_valid:
        return await _record(parts, claims, event)
    request = trace.Link(trace.get_current_span().get_span_context())
    with _tracer.start_as_current_span("accept", context=context, links=[request]):
        return await _record(parts, claims, event)


async def accept_batch(values: Sequence[Json], accept_one: Accept, *, least: int = 1) -> dict[str, Any]:
    """Accept the events of a batch, each for itself, recorded together where that is possible.

    Those that are new get places in the order sent.

    Parameters:
      values: The events.
      accept_one: Accepts one.
      least: Fewer of them are refused.

    Returns:
      The answer to each (`api.shown.BatchShown`).

    Raises:
      InvalidEvent: ``batch_size``: there are too few or too many.
      Transient: None was accepted, since the store does not answer.
    """
    if not least <= len(values) <= MAX_BATCH:
        raise InvalidEvent(
            f"a batch has {least} to {MAX_BATCH} events; this one has {len(values)}",
            code="batch_size",
            pointer="",
        )
    # tasks begin in this order, and each is queued for its place before it first waits
    outcomes = await asyncio.gather(
        *(_accepted(value, place, accept_one) for place, value in enumerate(values))
    )
    if outcomes and all(isinstance(outcome, Transient) for outcome in outcomes):
        raise cast("Transient", outcomes[0])
    return {"items": [_shown(outcome, place) for place, outcome in enumerate(outcomes)]}


async def _accepted(value: Json, place: int, accept_one: Accept) -> EventDocument | LightningError:
    try:
        if len(orjson.dumps(value)) > MAX_BODY_BYTES:
            raise TooLarge(f"the event is over {MAX_BODY_BYTES} bytes")
        return await accept_one(value, place)
    except LightningError as error:
        return error
    except Exception:  # noqa: BLE001 -- the others are recorded, and their answers must not be lost with this
        _log.exception("item_failed", place=place)
        return LightningError("the platform failed; the operators can see why")


def _shown(outcome: EventDocument | LightningError, place: int) -> dict[str, Any]:
    if not isinstance(outcome, LightningError):
        return {"status": ACCEPTED, "event": public(outcome)}
    pointer = f"/{place}{outcome.pointer or ''}"
    problem = problems.details(outcome.status, outcome.code, outcome.message, pointer=pointer)
    return {"status": outcome.status, "problem": problem}
