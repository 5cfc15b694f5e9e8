"""The requests of the HTTP API, built but not sent."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

WhenBusy = Literal["enqueue", "reject", "interrupt"]
Query = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Parameters:
      method: The HTTP method.
      path: The path.
      body: What is sent as JSON.
      query: The query parameters.
      headers: Further headers.
      repeatable: Whether sending it twice is as good as once.
      authorized: Whether it shows who the client is.
      takes_seconds: How much longer than others its answer may take.
    """

    method: str
    path: str
    body: object = None
    query: Query = field(default_factory=dict[str, str | int])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = False
    authorized: bool = True
    takes_seconds: float = 0.0


def health() -> Request:
    """Ask whether the installation is ready; not repeatable, since it is asked about now."""
    return Request("GET", "/api/health", authorized=False)


def register(username: str, password: str) -> Request:
    """Create an account."""
    return Request("POST", "/api/register", {"username": username, "password": password}, authorized=False)


def token(username: str, password: str) -> Request:
    """Log in."""
    return Request("POST", "/api/token", {"username": username, "password": password}, authorized=False)


def refresh(refresh_token: str) -> Request:
    """Exchange a refresh token; that uses it up, so that it is not repeatable."""
    return Request("POST", "/api/token/refresh", {"refresh_token": refresh_token}, authorized=False)


def revoke(refresh_token: str) -> Request:
    """End the session of a refresh token."""
    body = {"refresh_token": refresh_token}
    return Request("POST", "/api/token/revoke", body, repeatable=True, authorized=False)


def me() -> Request:
    """Ask who the client is."""
    return _get("/api/me")


def post_event(
    user_id: str,
    type: str,
    metadata: Mapping[str, Any],
    *,
    source: str,
    timestamp: datetime | None,
    idempotency_key: str | None,
) -> Request:
    """Post an event, of now and under a key of its own if none is given: it may be sent again."""
    event = {
        "timestamp": (timestamp or datetime.now(UTC)).isoformat(),
        "source": source,
        "type": type,
        "userID": user_id,
        "metadata": dict(metadata),
    }
    key = {"idempotency-key": str(uuid.uuid4()) if idempotency_key is None else idempotency_key}
    return Request("POST", "/api/events", event, headers=key, repeatable=True)


def chat_metadata(content: str, conversation: str | None, when_busy: WhenBusy | None) -> dict[str, str]:
    """Give the metadata of an `llm.chat`; what is not given is left to the platform."""
    given = {"content": content, "conversationID": conversation, "whenBusy": when_busy}
    return {name: value for name, value in given.items() if value is not None}


def event(event_id: str) -> Request:
    """Read an event with its outputs."""
    return _get(_path("events", event_id))


def event_when_over(event_id: str, wait_seconds: int) -> Request:
    """Read an event as soon as it is over, or after so long."""
    query = {"wait": wait_seconds}
    return Request(
        "GET", _path("events", event_id), query=query, repeatable=True, takes_seconds=float(wait_seconds)
    )


def events(query: Query) -> Request:
    """List events."""
    return _get("/api/events", query)


def stream(after: int, *, deltas: bool) -> Request:
    """Follow the log from a place on, and answers while they are written if that is wanted."""
    return _get("/api/stream", {"after": after, "deltas": int(deltas)})


def act(event_id: str, action: Literal["cancel", "replay"]) -> Request:
    """Cancel or replay an event."""
    return Request("POST", _path("events", event_id, action))


def conversations(query: Query) -> Request:
    """List conversations."""
    return _get("/api/conversations", query)


def create_conversation(fields: Mapping[str, str]) -> Request:
    """Begin a conversation."""
    return Request("POST", "/api/conversations", dict(fields))


def conversation(conversation_id: str) -> Request:
    """Read a conversation."""
    return _get(_path("conversations", conversation_id))


def messages(conversation_id: str, query: Query) -> Request:
    """List what was said in a conversation."""
    return _get(_path("conversations", conversation_id, "messages"), query)


def change_conversation(conversation_id: str, fields: Mapping[str, str]) -> Request:
    """Change fields of a conversation."""
    return Request("PATCH", _path("conversations", conversation_id), dict(fields))


def delete_conversation(conversation_id: str) -> Request:
    """Delete a conversation."""
    return Request("DELETE", _path("conversations", conversation_id))


def _get(path: str, query: Query | None = None) -> Request:
    return Request("GET", path, query=query or {}, repeatable=True)


def _path(*parts: str) -> str:
    return "/".join(["/api", *(quote(part, safe="") for part in parts)])
