"""Tokens, and the record of what was done."""

from typing import Literal, NotRequired, TypedDict


class Token(TypedDict):
    """An access token (the shape of RFC 6749, section 5.1)."""

    access_token: str
    token_type: str
    expires_in: int
    userID: str
    refresh_token: NotRequired[str]
    refresh_expires_in: NotRequired[int]


class AuditRecord(TypedDict):
    """A line of the audit trail; its fields are the columns, in their order."""

    at: str | None
    kind: Literal[
        "event", "model_call", "run", "commit", "delivery", "approval", "cancel", "discard", "replay"
    ]
    userID: str
    eventID: str
    seq: int
    root: str
    cause: str | None
    conversationID: str | None
    name: str
    id: str | None
    state: str | None
    by: str | None
    number: int | None
    endedAt: str | None
    seconds: float | None
    inputTokens: int | None
    outputTokens: int | None
    dollars: float | None
    exitCode: int | None
    httpStatus: int | None
    cpu: float | None
    memoryMiB: int | None
    diskMiB: int | None
    error: str | None
    detail: str | None


class AuditPage(TypedDict):
    """A page of the audit trail; ``next`` is the ``after`` of the page behind it."""

    records: list[AuditRecord]
    next: int | None
