"""The requests of the HTTP API, built but not sent."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import quote

from lightning.client.errors import unsendable

WhenBusy = Literal["enqueue", "reject", "interrupt"]
Query = Mapping[str, str | int]

#: What git does may take so long, above all where a machine does it for the first time.
GIT_SECONDS = 120.0


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
      content: What is sent as it is, in the place of JSON.
      gives_bytes: Whether the answer is wanted as it is, and is no JSON.
    """

    method: str
    path: str
    body: object = None
    query: Query = field(default_factory=dict[str, str | int])
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    repeatable: bool = False
    authorized: bool = True
    takes_seconds: float = 0.0
    content: bytes | None = None
    gives_bytes: bool = False


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


def tree(event_id: str, query: Query) -> Request:
    """Read the tree that an event belongs to."""
    return _get(_path("events", event_id, "tree"), query)


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


def act(event_id: str, action: Literal["cancel", "discard", "replay"]) -> Request:
    """Cancel, discard or replay an event."""
    return Request("POST", _path("events", event_id, action))


def conversations(query: Query) -> Request:
    """List conversations."""
    return _get("/api/conversations", query)


def create_conversation(fields: Mapping[str, Any]) -> Request:
    """Begin a conversation."""
    return Request("POST", "/api/conversations", dict(fields))


def conversation(conversation_id: str) -> Request:
    """Read a conversation."""
    return _get(_path("conversations", conversation_id))


def messages(conversation_id: str, query: Query) -> Request:
    """List what was said in a conversation."""
    return _get(_path("conversations", conversation_id, "messages"), query)


def change_conversation(conversation_id: str, fields: Mapping[str, Any]) -> Request:
    """Change fields of a conversation."""
    return Request("PATCH", _path("conversations", conversation_id), dict(fields))


def delete_conversation(conversation_id: str) -> Request:
    """Delete a conversation."""
    return Request("DELETE", _path("conversations", conversation_id))


def approvals(query: Query) -> Request:
    """List approvals."""
    return _get("/api/approvals", query)


def approval(approval_id: str) -> Request:
    """Read an approval."""
    return _get(_path("approvals", approval_id))


def decide(approval_id: str, decision: str, hash: str) -> Request:
    """Decide on an action; the same decision may be sent again."""
    body = {"decision": decision, "hash": hash}
    return Request("POST", _path("approvals", approval_id), body, repeatable=True)


def audit(query: Query) -> Request:
    """Read the audit trail."""
    return _get("/api/audit", query)


def runs(query: Query) -> Request:
    """List runs."""
    return _get("/api/runs", query)


def run(run_id: str) -> Request:
    """Read a run."""
    return _get(_path("runs", run_id))


def run_log(run_id: str, query: Query) -> Request:
    """Read a part of what a run printed."""
    return _get(_path("runs", run_id, "logs"), query)


def undo_run(run_id: str) -> Request:
    """Undo what a run has committed; it may be sent again."""
    path = _path("runs", run_id, "revert")
    return Request("POST", path, repeatable=True, takes_seconds=GIT_SECONDS)


def tell_run(run_id: str, content: str, question_id: str | None, key: str | None) -> Request:
    """Say something to a run, under a key of its own if none is given: it may be sent again."""
    body = {"content": content, "key": str(uuid.uuid4()) if key is None else key}
    named = {} if question_id is None else {"questionID": question_id}
    return Request("POST", _path("runs", run_id, "messages"), {**body, **named}, repeatable=True)


def create_schedule(fields: Mapping[str, Any], key: str | None) -> Request:
    """Make a schedule, under a key of its own if none is given: it may be sent again."""
    return _once("/api/schedule", fields, key)


def schedules(query: Query) -> Request:
    """List schedules."""
    return _get("/api/schedules", query)


def schedule(schedule_id: str) -> Request:
    """Read a schedule."""
    return _get(_path("schedules", schedule_id))


def schedule_fires(schedule_id: str, query: Query) -> Request:
    """List what a schedule fired."""
    return _get(_path("schedules", schedule_id, "fires"), query)


def change_schedule(schedule_id: str, fields: Mapping[str, Any]) -> Request:
    """Change a schedule."""
    return Request("PATCH", _path("schedules", schedule_id), dict(fields))


def steer_schedule(schedule_id: str, what: str) -> Request:
    """Have a schedule ``pause`` or ``resume``: done twice, it is as good as once."""
    return Request("POST", _path("schedules", schedule_id, what), repeatable=True)


def fire_schedule(schedule_id: str, what: str, fields: Mapping[str, Any] | None, key: str | None) -> Request:
    """Have a schedule ``run`` now, or ``backfill``."""
    return _once(_path("schedules", schedule_id, what), fields, key)


def delete_schedule(schedule_id: str) -> Request:
    """Delete a schedule."""
    return Request("DELETE", _path("schedules", schedule_id))


def repositories() -> Request:
    """List repositories."""
    return _get("/api/repos")


def create_repository(fields: Mapping[str, Any]) -> Request:
    """Make a repository, or register one."""
    return Request("POST", "/api/repos", dict(fields))


def repository(name: str) -> Request:
    """Read a repository."""
    return _get(_path("repos", name))


def delete_repository(name: str) -> Request:
    """Delete a repository."""
    return Request("DELETE", _path("repos", name), takes_seconds=GIT_SECONDS)


def repository_view(name: str, what: str, query: Query) -> Request:
    """Read something about a repository: its ``files``, ``log``, ``diff``, or what a ``search`` finds."""
    return replace(_get(_path("repos", name, what), query), takes_seconds=GIT_SECONDS)


def repository_bytes(name: str, what: str, query: Query) -> Request:
    """Read a ``file`` of a repository, or its ``bundle``."""
    return replace(repository_view(name, what, query), gives_bytes=True)


def send_bytes(name: str, what: str, content: bytes, query: Query) -> Request:
    """Write a ``file`` of a repository, or take over a ``bundle``: sent twice, it changes nothing more."""
    path = _path("repos", name, what)
    headers = {"content-type": "application/octet-stream"}
    repeatable = what == "bundle" or "base" in query
    return Request(
        "PUT",
        path,
        query=query,
        headers=headers,
        content=content,
        repeatable=repeatable,
        takes_seconds=GIT_SECONDS,
    )


def remove_file(name: str, query: Query) -> Request:
    """Remove a file of a repository."""
    return Request("DELETE", _path("repos", name, "file"), query=query, takes_seconds=GIT_SECONDS)


def change_repository(name: str, what: str, fields: Mapping[str, Any]) -> Request:
    """Have a repository changed: ``commits``, ``revert``."""
    return Request("POST", _path("repos", name, what), dict(fields), takes_seconds=GIT_SECONDS)


def fetch_repository(name: str) -> Request:
    """Have what is new fetched where a repository lives."""
    path = _path("repos", name, "fetch")
    return Request("POST", path, repeatable=True, takes_seconds=GIT_SECONDS)


def follow_run_log(run_id: str, offset: int) -> Request:
    """Follow what a run prints, from an offset on."""
    return _get(_path("runs", run_id, "logs"), {"follow": "true", "offset": offset})


def _once(path: str, fields: Mapping[str, Any] | None, key: str | None) -> Request:
    headers = {"idempotency-key": str(uuid.uuid4()) if key is None else key}
    body = None if fields is None else dict(fields)
    return Request("POST", path, body, headers=headers, repeatable=True)


def _get(path: str, query: Query | None = None) -> Request:
    return Request("GET", path, query=query or {}, repeatable=True)


def _path(*parts: str) -> str:
    try:
        return "/".join(["/api", *(quote(part, safe="") for part in parts)])
    except UnicodeEncodeError as error:
        raise unsendable(error) from error
