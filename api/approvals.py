"""`/api/approvals`: a person decides on what a model wants to do."""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from starlette.requests import Request
from starlette.responses import Response

from api.operation import Operation
from api.platform import Platform
from api.requests import authenticated, platform, read_form, read_query, respond
from lightning.domain.approvals import ApprovalDocument, Standing, expiry_text
from lightning.domain.tokens import Claims
from lightning.errors import InvalidRequest, NotFound
from lightning.log import wakeups

MAX_PAGE: Final = 200

Hash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$"), Field(examples=["0" * 64])]

#: How a decision is written, by how it is said.
_SAID: Final[dict[str, Literal["approved", "refused"]]] = {"approve": "approved", "refuse": "refused"}


class ApprovalChoice(BaseModel):
    """Which of the approvals."""

    pending: Annotated[
        int, Field(ge=0, le=1, description="1 lists only those that somebody may decide.", examples=[1])
    ] = 0
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE, description="At most so many.")] = 50
    page: Annotated[str | None, Field(description="The `next` of the page before.")] = None


class Decision(BaseModel):
    """A decision on exactly one action."""

    model_config = ConfigDict(extra="forbid", strict=True)

    decision: Annotated[Literal["approve", "refuse"], Field(description="Whether it is to be done.")]
    hash: Annotated[Hash, Field(description="The `hash` of the action as you were shown it.")]


class ApprovalShown(BaseModel):
    """An action that a model wants to take, and what its user says to it."""

    id: str
    conversationID: str  # noqa: N815 -- the wire's name
    tool: Annotated[str, Field(description="What it wants to call.")]
    arguments: Annotated[dict[str, Any], Field(description="With what, exactly.")]
    scope: Annotated[
        dict[str, Any],
        Field(description="What it would touch: it is not done if the conversation says otherwise by then."),
    ]
    hash: Annotated[str, Field(description="SHA-256 of tool, arguments and scope, for the decision to name.")]
    state: Annotated[Standing, Field(description="`pending` while somebody may decide it.")]
    eventID: Annotated[str, Field(description="Id of its `approval.requested`.")]  # noqa: N815 -- the wire's
    createdAt: str  # noqa: N815 -- the wire's name
    expiresAt: Annotated[str, Field(description="Undecided, it is refused then.")]  # noqa: N815 -- the wire's
    decidedAt: str | None  # noqa: N815 -- the wire's name


class ApprovalsShown(BaseModel):
    """A page of approvals; ``next`` is the ``page`` of the page behind it."""

    approvals: list[ApprovalShown]
    next: str | None


async def list_approvals(request: Request) -> Response:
    """List the caller's approvals, those of the latest turn first."""
    claims = await authenticated(request)
    choice = read_query(request, ApprovalChoice)
    approvals = platform(request).approvals
    try:
        found = await approvals.newest(
            claims.subject, pending=bool(choice.pending), limit=choice.limit, page=choice.page
        )
    except ValueError:
        raise InvalidRequest(
            "the parameter page is the next of another page", code="invalid_parameter"
        ) from None
    listed = await shown(platform(request), found.approvals)
    if choice.pending:
        listed = [each for each in listed if each["state"] == "pending"]
    return respond({"approvals": listed, "next": found.next})


async def get_approval(request: Request) -> Response:
    """Show one approval of the caller's."""
    claims = await authenticated(request)
    [approval] = await shown(platform(request), [await _found(request, claims)])
    return respond(approval)


async def decide_approval(request: Request) -> Response:
    """Approve or refuse one action, once; the same decision again changes nothing."""
    claims = await authenticated(request)
    found = await _found(request, claims)  # before the body: what is wrong with it is no stranger's business
    said = await read_form(request, Decision)
    return respond(await decide(platform(request), claims.subject, found["id"], said.decision, said.hash))


async def decide(
    parts: Platform, user_id: str, approval: str, decision: Literal["approve", "refuse"], hash: str
) -> dict[str, Any]:
    """Decide, over whichever connection, and give the approval as people see it then.

    Raises:
      NotFound: The caller has no such approval.
      Conflict: It cannot be decided so (any more); see `Approvals.decide`.
    """
    decided, events = await parts.approvals.decide(user_id, approval, _SAID[decision], hash)
    await parts.dispatch.announce(wakeups(events))
    parts.hub.wake(user_id)
    [stands] = await shown(parts, [decided])
    return stands


async def _found(request: Request, claims: Claims) -> ApprovalDocument:
    found = await platform(request).approvals.find(claims.subject, request.path_params["id"])
    if found is None:
        raise NotFound("there is no such approval, or it is not yours")
    return found.document


async def shown(parts: Platform, approvals: Sequence[ApprovalDocument]) -> list[dict[str, Any]]:
    """Give approvals as people see them."""
    standings = await asyncio.gather(*(parts.approvals.standing(each) for each in approvals))
    return [_shown(*each) for each in zip(approvals, standings, strict=True)]


def _shown(approval: ApprovalDocument, standing: Standing) -> dict[str, Any]:
    same = ("id", "conversationID", "tool", "arguments", "scope", "hash", "eventID", "createdAt", "decidedAt")
    return {
        **{name: approval[name] for name in same},
        "state": standing,
        "expiresAt": expiry_text(approval),
    }


ROUTES = (
    Operation(
        "GET",
        "/api/approvals",
        list_approvals,
        summary="List the caller's approvals, those of the latest turn first.",
        scope="approvals:read",
        query=ApprovalChoice,
        answers={200: ApprovalsShown},
        problems={400: ("invalid_parameter",)},
    ),
    Operation(
        "GET",
        "/api/approvals/{id}",
        get_approval,
        summary="Show one approval.",
        scope="approvals:read",
        answers={200: ApprovalShown},
    ),
    Operation(
        "POST",
        "/api/approvals/{id}",
        decide_approval,
        summary="Approve or refuse one action of a model's, once.",
        scope="approvals:write",
        body=Decision,
        answers={200: ApprovalShown},
        problems={
            409: ("approval_cancelled", "approval_decided", "approval_expired", "approval_hash"),
        },
    ),
)
