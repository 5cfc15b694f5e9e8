"""Accepting one posted event, by whichever way it came in."""

import hashlib

import orjson
from opentelemetry import trace

from api.platform import Platform
from api.requests import check_scope
from lightning.domain.tokens import Claims
from lightning.errors import Conflict, Forbidden, InvalidRequest
from lightning.events import Draft, Envelope, EventDocument, read_envelope
from lightning.ids import keyed_id, new_id
from lightning.strict_json import Json
from lightning.tasks import works_on_repository
from lightning.telemetry import carrier, names

#: Roles that may post for somebody else.
TRUSTED_ROLES = frozenset({"operator", "service"})

MAX_KEY_CHARACTERS = 256


async def accept(
    parts: Platform, claims: Claims, raw: Json, key: str | None, *, said: Json = None
) -> EventDocument:
    """Check an event, record it durably, announce it, and wake the user's readers.

    Parameters:
      parts: The platform.
      claims: Who posts.
      raw: The event as it was posted.
      key: The idempotency key, if there is one.
      said: What is compared when the key is met again, where ``raw`` holds more than the client said.

    Returns:
      The event as recorded; the first one, when it was posted before under the same key or id.

    Raises:
      InvalidRequest: ``invalid_idempotency_key``.
      InvalidEvent: With a JSON pointer to the field at fault.
      Forbidden: ``foreign_user`` or ``platform_event``; or a service token may not change the repository that
        the event has a run work on (``scope_missing``).
      Conflict: ``id_taken``: another event was accepted under this key or id; or the conversation does not
        take the message.
      Transient: The store does not answer; nothing is promised.
    """
    envelope = read_envelope(raw)
    check_may_post(envelope, claims)
    draft = _draft(envelope, raw if said is None else said, key)
    try:
        event, _ = await parts.dispatch.accept(envelope.userID, draft)
    except Conflict as conflict:
        if conflict.code == "id_taken":
            conflict.pointer = "/id" if key is None else None
        raise
    trace.get_current_span().set_attributes({names.EVENT: event["id"], names.USER: event["userID"]})
    parts.hub.wake(envelope.userID)
    return event


def checked_key(key: str | None) -> str | None:
    """Check an idempotency key.

    Raises:
      InvalidRequest: ``invalid_idempotency_key``: it is empty or too long.
    """
    if key is not None and not 1 <= len(key) <= MAX_KEY_CHARACTERS:
        raise InvalidRequest(
            f"an Idempotency-Key has 1 to {MAX_KEY_CHARACTERS} characters", code="invalid_idempotency_key"
        )
    return key


def compound_key(*parts: str) -> str:
    """Make one idempotency key of several texts, the same only for the same texts."""
    return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def check_may_post(envelope: Envelope, claims: Claims) -> None:
    """See that somebody posts in their own name, or may post in everybody's, and all that it brings about.

    Raises:
      Forbidden: ``foreign_user``; or a service token may not change the repository that the event has a run
        work on (``scope_missing``).
    """
    if envelope.userID != claims.subject and claims.role not in TRUSTED_ROLES:
        raise Forbidden(
            "the userID is not that of the token; GET /api/me tells yours",
            code="foreign_user",
            pointer="/userID",
        )
    if works_on_repository(envelope.type, envelope.metadata):
        check_scope(claims, "repos:write")


def _draft(envelope: Envelope, said: Json, key: str | None) -> Draft:
    name = checked_key(key) if key is not None else envelope.id
    fingerprint = None
    if name is not None:
        canonical = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        fingerprint = hashlib.sha256(canonical).hexdigest()
    return Draft(
        id=new_id() if name is None else keyed_id(envelope.userID, name),
        type=envelope.type,
        source=envelope.source,
        metadata=envelope.metadata,
        timestamp=envelope.timestamp.isoformat().replace("+00:00", "Z"),
        trace=carrier.current(),
        fingerprint=fingerprint,
    )
