"""`/metrics`: what this process measures, for Prometheus; only where the operator has set a token for it."""

import asyncio
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from lightning.telemetry.setup import METRICS_PATH

if TYPE_CHECKING:
    from lightning.telemetry.scrape import Scrape


def mount_metrics(app: Starlette, scrape: "Scrape") -> None:
    """Let an application answer scrapes.

    Parameters:
      app: The application of the ingress.
      scrape: What answers.
    """

    async def metrics(request: Request) -> Response:
        told = await asyncio.to_thread(scrape.answer, request.headers.get("authorization"))
        challenge = {"www-authenticate": "Bearer"} if told.status == 401 else {}
        headers = {"cache-control": "no-store", "content-type": told.media_type, **challenge}
        return Response(told.body, told.status, headers)

    app.router.routes.append(Route(METRICS_PATH, metrics, methods=["GET"]))
