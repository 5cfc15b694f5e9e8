"""`/api/audit`: what an event, or all events of a user, caused; from the log, which is the authority."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.events import MAX_PLACE
from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, read_query, respond
from lightning.domain.tokens import Claims
from lightning.domain.usernames import account_id_of
from lightning.errors import InvalidRequest, NotFound
from lightning.events import read_moment
from lightning.trail import Record
from lightning.trail.trail import MAX_EVENTS


class AuditChoice(BaseModel):
    """What is asked about."""

    event: Annotated[
        str | None,
        Field(max_length=256, description="Id of an event: it, and what followed from it. Without it: all."),
    ] = None
    user: Annotated[
        str | None,
        Field(
            max_length=256,
            description="Whose events: a username or `userID`. Others than the caller only for operators.",
        ),
    ] = None
    since: Annotated[
        str | None,
        Field(
            max_length=64,
            description="Only what was recorded from then on (RFC 3339).",
            examples=["2026-01-31T00:00:00Z"],
        ),
    ] = None
    after: Annotated[int, Field(ge=0, le=MAX_PLACE, description="The `next` of the page before.")] = 0
    limit: Annotated[
        int, Field(ge=1, le=MAX_EVENTS, description="At most so many events are looked at; each has records.")
    ] = 100


class AuditShown(BaseModel):
    """A page of the audit trail in the order of the log; only ``next`` tells whether there is more."""

    records: list[Record]
    next: Annotated[int | None, Field(examples=[None])]


async def get_audit(request: Request) -> Response:
    """Tell what an event caused, or what all events of a user caused since a time.

    It is read from the log and its documents, never from telemetry: events and their interventions, calls of
    models, runs, commits, attempts of deliveries, approvals. A page may have no record and be followed by
    others. An operator may ask about any user, with the token of a person or of a program.
    """
    claims = await authenticated(request)
    parts = platform(request)
    choice = read_query(request, AuditChoice)
    user_id, since = await _user(parts, claims, choice.user), _moment(choice.since)
    asked: dict[str, Any] = {"since": since, "after": choice.after, "limit": choice.limit}
    if choice.event is None:
        page = await parts.trail.of_user(user_id, **asked)
    else:
        event = await parts.log.get(user_id, choice.event)
        if event is None:
            raise NotFound("there is no such event, or it is not theirs whose events are asked about")
        page = await parts.trail.of_event(event, **asked)
    records = [record.model_dump() for record in page.records]
    return respond({"records": records, "next": page.next})


async def _user(parts: Platform, claims: Claims, named: str | None) -> str:
    """Give the id of whoever is asked about.

    Raises:
      NotFound: There is no such user, or the caller may not ask about others.
    """
    if named is None or named == claims.subject:
        return claims.subject
    found = account_id_of(named)
    own = await parts.accounts.read(claims.subject)
    if own is not None and own.role == "operator":
        for each in (named, found):
            if (account := await parts.accounts.read(each)) is not None:
                return account.id
    if found != claims.subject:
        raise NotFound("there is no such user, or you may not ask about them")
    return claims.subject


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return read_moment(text)
    except ValueError as error:
        raise InvalidRequest(f"the parameter since: {error}", code="invalid_parameter") from None


ROUTES = (
    Operation(
        "GET",
        "/api/audit",
        get_audit,
        summary="Tell what an event, or all events of a user, caused.",
        scope="audit:read",
        query=AuditChoice,
        answers={200: AuditShown},
        problems={400: ("invalid_parameter",), 404: ("not_found",)},
    ),
)
