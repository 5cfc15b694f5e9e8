"""The repositories: what is in them, and how it came to be so."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.access import View
from api.dashboard.everybody import each_has
from api.dashboard.page import page, page_of_everybody, render
from api.requests import whole_number
from lightning.domain.repositories import Known
from lightning.repositories import NO_COMMIT, Repository

FILES: Final = 200
COMMITS: Final = 50

#: More of a file is not shown.
MAX_SHOWN_BYTES: Final = 256 * 1024


async def show_all(_request: Request, view: View) -> Response:
    """Show the repositories."""
    own = [(view.subject, each) for each in await view.parts.repositories.of(view.subject)]
    return render("repos.html", view, listed=own, names={}, next=None)


async def show_everybodys(request: Request, view: View) -> Response:
    """Show what the accounts of a page have."""
    found = await each_has(request, view, view.parts.repositories.of)
    return render("repos.html", view, listed=found.listed, names=found.names, next=found.next)


async def show(request: Request, view: View) -> Response:
    """Show the files of a repository, and its latest commits."""
    known, repository = await _own(request, view)
    query = request.query_params
    skip = whole_number(request, "skip", 0, highest=100_000)
    if await repository.tip() == NO_COMMIT:
        return render("repo.html", view, known=known, files=None, history=None, at=None)
    at = query.get("at") or None
    files = await repository.files(at=at, after=query.get("after", ""), limit=FILES)
    history = await repository.log(at=at, skip=skip, limit=COMMITS)
    return render("repo.html", view, known=known, files=files, history=history, at=at)


async def show_file(request: Request, view: View) -> Response:
    """Show a file as the text that it is."""
    known, repository = await _own(request, view)
    at = request.query_params.get("at") or None
    found = await repository.read(request.query_params.get("path", ""), at=at)
    data = found.data[:MAX_SHOWN_BYTES]
    is_text = b"\0" not in data
    return render(
        "repo_file.html",
        view,
        known=known,
        path=found.entry.path,
        at=at,
        size=len(found.data),
        text=data.decode(errors="replace") if is_text else None,
        cut=len(found.data) > MAX_SHOWN_BYTES,
    )


async def show_commit(request: Request, view: View) -> Response:
    """Show what a commit changed."""
    known, repository = await _own(request, view)
    diff = await repository.diff(at=request.path_params["commit"])
    return render("repo_commit.html", view, known=known, diff=diff)


async def _own(request: Request, view: View) -> tuple[Known, Repository]:
    repositories = view.parts.repositories
    known = await repositories.find(view.subject, request.path_params["repo"])
    return known, repositories.open_to_read(view.subject, known)


ROUTES = (
    page("/repos", show_all),
    page("/repos/{repo}", show),
    page("/repos/{repo}/file", show_file),
    page("/repos/{repo}/commits/{commit}", show_commit),
)
OF_EVERYBODY = (page_of_everybody("/repos", show_everybodys),)
