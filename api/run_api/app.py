"""The run API as an application of its own, which knows no other route of the ingress."""

from starlette.applications import Starlette
from starlette.middleware import Middleware

from api import problems
from api.run_api import ROUTES
from api.tracing import TraceRequests


def run_api_of(ingress: Starlette) -> Starlette:
    """Make the application that serves the run API alone, with the parts of an ingress.

    Parameters:
      ingress: Whose parts; they are opened and closed with it.
    """
    app = Starlette(
        routes=list(ROUTES),
        middleware=[Middleware(TraceRequests)],
        exception_handlers=problems.HANDLERS,
    )
    app.state = ingress.state
    return app
