"""What models want to do: each exact action, and its user's decision on it."""

import hashlib
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.approvals import decide, shown
from api.dashboard.access import Form, View, field
from api.dashboard.everybody import names_of
from api.dashboard.page import action, page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.platform import Platform
from lightning.domain.approvals import ApprovalDocument
from lightning.errors import Forbidden, InvalidRequest, NotFound

PAGE: Final = 50


async def show_all(request: Request, view: View) -> Response:
    """Show what waits for a decision, and a page of all approvals."""
    return render("approvals.html", view, **await _list(request, view))


async def all_live(request: Request, view: View) -> Response:
    """Give the list, or nothing when that is what was seen last."""
    found = await _list(request, view)
    if request.query_params.get("seen") == found["version"]:
        return Response(status_code=204)
    return render("approvals_live.html", view, **found)


async def show(request: Request, view: View) -> Response:
    """Show one action, and whether it is to be done."""
    return render("approval.html", view, approval=await _own(request, view))


async def live(request: Request, view: View) -> Response:
    """Give what is shown of an approval, or nothing while it stands as it was seen last."""
    approval = await _own(request, view)
    if request.query_params.get("seen") == approval["state"]:
        return Response(status_code=204)
    return render("approval_live.html", view, approval=approval)


async def decide_one(request: Request, view: View, form: Form) -> str:
    """Approve or refuse exactly the action that the form shows; operators do so for nobody else."""
    approval = await _own(request, view)
    if view.is_elsewhere:
        raise Forbidden(f"only {view.subject_name} decides on this", code="not_yours_to_decide")
    said = field(form, "do")
    if said not in {"approve", "refuse"}:
        raise InvalidRequest("say whether it is to be done; go back and try again")
    await decide(
        view.parts,
        view.user_id,
        approval["id"],
        "approve" if said == "approve" else "refuse",
        field(form, "hash"),
    )
    return f"/approvals/{approval['id']}"


async def _list(request: Request, view: View) -> dict[str, Any]:
    parts, token = view.parts, page_token(request)
    with pages_end():
        found = await parts.approvals.newest(view.owner, limit=PAGE, page=token)
    undecided = await parts.approvals.newest(view.owner, pending=True, limit=PAGE) if token is None else found
    listed = await _with_users(parts, found.approvals)
    waiting = [each for each in await _with_users(parts, undecided.approvals) if each["state"] == "pending"]
    told = [[each["id"], each["state"]] for each in (*waiting, *listed)]
    return {
        "listed": listed,
        "waiting": waiting,
        "names": await names_of(view, (each["userID"] for each in (*waiting, *listed))),
        "next": found.next,
        "is_first": token is None,
        "version": hashlib.sha256(orjson.dumps(told)).hexdigest()[:16],
    }


async def _own(request: Request, view: View) -> dict[str, Any]:
    found = await view.parts.approvals.find(view.subject, request.path_params["id"])
    if found is None:
        raise NotFound("there is no such approval, or it is not yours")
    [approval] = await shown(view.parts, [found.document])
    return approval


async def _with_users(parts: Platform, approvals: list[ApprovalDocument]) -> list[dict[str, Any]]:
    stand = await shown(parts, approvals)
    return [{**each, "userID": known["userID"]} for each, known in zip(stand, approvals, strict=True)]


ROUTES = (
    page("/approvals", show_all),
    page("/approvals/live", all_live),
    page("/approvals/{id}", show),
    page("/approvals/{id}/live", live),
    action("/approvals/{id}", decide_one),
)
OF_EVERYBODY = (
    page_of_everybody("/approvals", show_all),
    page_of_everybody("/approvals/live", all_live),
)
