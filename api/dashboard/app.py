"""The pages as an application of their own, beside the API."""

from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from api.dashboard import (
    approvals,
    conversations,
    dead,
    event,
    events,
    login,
    overview,
    repos,
    runs,
    schedules,
    static_files,
    users,
    webhooks,
)
from api.dashboard.access import ROOT
from api.dashboard.page import HANDLERS

#: The pages of one user's things; an operator has them for each user below ``/u/USER``, too.
PAGES: Final[tuple[Route, ...]] = (
    *overview.ROUTES,
    *events.ROUTES,
    *event.ROUTES,
    *conversations.ROUTES,
    *approvals.ROUTES,
    *runs.ROUTES,
    *schedules.ROUTES,
    *dead.ROUTES,
    *repos.ROUTES,
    *webhooks.ROUTES,
)

#: The lists of what all users have, for operators.
OF_EVERYBODY: Final[tuple[Route, ...]] = (
    *overview.OF_EVERYBODY,
    *events.OF_EVERYBODY,
    *conversations.OF_EVERYBODY,
    *approvals.OF_EVERYBODY,
    *runs.OF_EVERYBODY,
    *schedules.OF_EVERYBODY,
    *dead.OF_EVERYBODY,
    *repos.OF_EVERYBODY,
    *webhooks.OF_EVERYBODY,
)

#: The pages of operators.
OPERATORS: Final[tuple[Route, ...]] = users.ROUTES

#: What needs no session, and what begins or ends one.
OPEN: Final[tuple[Route, ...]] = (*login.ROUTES, *static_files.ROUTES)


def mount_on(ingress: Starlette) -> None:
    """Add the pages to an ingress, with its parts.

    Parameters:
      ingress: The application.
    """
    routes: list[BaseRoute] = [
        *OPEN,
        *PAGES,
        *OPERATORS,
        Mount("/u/{user}", routes=list(PAGES)),
        Mount("/all", routes=list(OF_EVERYBODY)),
    ]
    pages = Starlette(routes=routes, exception_handlers=HANDLERS)
    pages.state = ingress.state
    ingress.router.routes += [Mount(ROOT, app=pages), Route("/", _begin, methods=["GET"])]


async def _begin(_request: Request) -> Response:
    """Show who came without a path where the pages are."""
    return RedirectResponse(f"{ROOT}/", 303)
