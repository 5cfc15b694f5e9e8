"""The runs of tasks: what they print while they do, how they ended, and what they changed."""

import hashlib
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import Form, View
from api.dashboard.everybody import names_of
from api.dashboard.page import action, page, page_of_everybody, render
from api.dashboard.pages_of import page_token, pages_end
from api.requests import whole_number
from api.run_revert import revert
from api.runs import MAX_LOG_CHARS, MAX_OFFSET, end_of_task, run_shown
from lightning.domain.runs import RunDocument
from lightning.errors import LightningError, NotFound
from lightning.repositories import NO_COMMIT, Diff

PAGE: Final = 50


async def show_all(request: Request, view: View) -> Response:
    """Show a page of runs."""
    with pages_end():
        found = await view.parts.runs.newest(view.owner, limit=PAGE, page=page_token(request))
    runs = [{**await run_shown(view.parts, run), "userID": run["userID"]} for run in found.runs]
    names = await names_of(view, (run["userID"] for run in found.runs))
    is_first = page_token(request) is None
    return render("runs.html", view, runs=runs, names=names, next=found.next, is_first=is_first)


async def show(request: Request, view: View) -> Response:
    """Show a run."""
    run = await _run(request, view)
    text = await view.parts.runs.log(run, 0, MAX_LOG_CHARS)
    complete = await _is_complete(view, run, len(text))
    diff, no_diff = await _diff(view, run)
    shown: dict[str, Any] = {
        "log": text,
        "next": len(text),
        "complete": complete,
        "diff": diff,
        "no_diff": no_diff,
    }
    return render("run.html", view, **await _state(view, run), **shown)


async def live(request: Request, view: View) -> Response:
    """Give how a run stands, or nothing when that is what was seen last."""
    state = await _state(view, await _run(request, view))
    if request.query_params.get("seen") == state["version"]:
        return Response(status_code=204)
    return render("run_live.html", view, **state)


async def log(request: Request, view: View) -> Response:
    """Give what a run has printed since, or nothing when it has not."""
    run = await _run(request, view)
    offset = whole_number(request, "offset", 0, highest=MAX_OFFSET)
    text = await view.parts.runs.log(run, offset, MAX_LOG_CHARS)
    complete = await _is_complete(view, run, offset + len(text))
    if not text and not complete:
        return Response(status_code=204)
    return render("run_log.html", view, run=run, log=text, next=offset + len(text), complete=complete)


async def revert_one(request: Request, view: View, _form: Form) -> str:
    """Undo what a run has committed."""
    run = await _run(request, view)
    await revert(view.parts, run)
    return f"/runs/{run['id']}"


async def cancel(request: Request, view: View, _form: Form) -> str:
    """Stop a run, with all that belongs to its task."""
    run = await _run(request, view)
    await view.parts.dispatch.cancel(view.subject, run["eventID"], by=view.user_id)
    view.parts.hub.wake(view.subject)
    return f"/runs/{run['id']}"


async def _run(request: Request, view: View) -> RunDocument:
    run = await view.parts.runs.find(view.subject, request.path_params["id"])
    if run is None:
        raise NotFound("there is no such run, or it is not yours")
    return run


async def _state(view: View, run: RunDocument) -> dict[str, Any]:
    shown = await run_shown(view.parts, run)
    report = await view.parts.run_reports.read(run)
    task = await view.parts.log.get(run["userID"], run["eventID"])
    asked = {} if task is None else task["metadata"]
    names = ("resources", "timeoutSeconds", "network", "budget", "input")
    limits = {name: asked[name] for name in names if name in asked}
    told = {name: report[name] for name in ("progress", "metrics", "questions", "messages", "result")}
    version = hashlib.sha256(orjson.dumps([shown, told])).hexdigest()[:16]
    goes_on = task is not None and task["state"] == "accepted" and run["outcome"] is None
    return {"run": shown, "report": told, "limits": limits, "version": version, "goes_on": goes_on}


async def _is_complete(view: View, run: RunDocument, offset: int) -> bool:
    over = run["outcome"] is not None or await end_of_task(view.parts, run) is not None
    return over and offset >= run["log"]["chars"]


async def _diff(view: View, run: RunDocument) -> tuple[Diff | None, str]:
    """Tell what a run has changed, or why that cannot be told."""
    given = run.get("workspace")
    if given is None:
        return None, "It works on no repository."
    commit = given.get("commit")
    if commit is None:
        return None, "It has changed no file" + ("." if "commit" in given else " yet.")
    try:
        known = await view.parts.repositories.find(run["userID"], given["repo"])
        repository = view.parts.repositories.open_to_read(run["userID"], known)
        base = None if given["base"] == NO_COMMIT else given["base"]
        return await repository.diff(at=commit, base=base), ""
    except LightningError as error:
        return None, error.message


ROUTES = (
    page("/runs", show_all),
    page("/runs/{id}", show),
    page("/runs/{id}/live", live),
    page("/runs/{id}/log", log),
    action("/runs/{id}/revert", revert_one),
    action("/runs/{id}/cancel", cancel),
)
OF_EVERYBODY = (page_of_everybody("/runs", show_all),)
