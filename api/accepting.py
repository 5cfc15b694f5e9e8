"""Accepting one posted event, by whichever way it came in."""

import hashlib

import orjson

from api.platform import Platform
from lightning.domain.tokens import Claims
from lightning.errors import Conflict, Forbidden, InvalidRequest
from lightning.events import Draft, Envelope, EventDocument, read_envelope
from lightning.ids import keyed_id, new_id
from lightning.strict_json import Json
from lightning.telemetry import carrier

#: Roles that may post for somebody else.
TRUSTED_ROLES = frozenset({"operator", "service"})


async def accept(parts: Platform, claims: Claims, raw: Json, key: str | None) -> EventDocument:
    """Check an event, record it durably, announce it, and wake the user's readers.

    Parameters:
      parts: The platform.
      claims: Who posts.
      raw: The event as it was posted.
      key: The idempotency key, if there is one.

    Returns:
      The event as recorded; the first one, when it was posted before under the same key or id.

    Raises:
      InvalidRequest: ``invalid_idempotency_key``.
      InvalidEvent: With a JSON pointer to the field at fault.
      Forbidden: ``foreign_user`` or ``platform_event``.
      Conflict: ``id_taken``: another event was accepted under this key or id.
      Transient: The store does not answer; nothing is promised.
    """
    envelope = read_envelope(raw)
    _check_tenant(envelope, claims)
    draft = _draft(envelope, raw, key)
    try:
        event, _ = await parts.dispatch.accept(envelope.userID, draft)
    except Conflict as conflict:
        conflict.pointer = "/id" if key is None else None
        raise
    parts.hub.wake(envelope.userID)
    return event


def _check_tenant(envelope: Envelope, claims: Claims) -> None:
    if envelope.userID != claims.subject and claims.role not in TRUSTED_ROLES:
        raise Forbidden(
            "the userID is not that of the token; GET /api/me tells yours",
            code="foreign_user",
            pointer="/userID",
        )


def _draft(envelope: Envelope, raw: Json, key: str | None) -> Draft:
    if key is not None and not 1 <= len(key) <= 256:
        raise InvalidRequest("an Idempotency-Key has 1 to 256 characters", code="invalid_idempotency_key")
    name = key if key is not None else envelope.id
    fingerprint = None
    if name is not None:
        canonical = orjson.dumps(raw, option=orjson.OPT_SORT_KEYS)
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
