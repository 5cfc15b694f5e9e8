"""The style, the scripts and the icon of the pages, which come from nowhere else."""

from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.docs import Publication
from lightning.errors import NotFound

_TYPES: Final = {
    "app.css": "text/css",
    "htmx.min.js": "text/javascript",
    "htmx.LICENSE.txt": "text/plain",
    "idiomorph-ext.min.js": "text/javascript",
    "idiomorph.LICENSE.txt": "text/plain",
    "live.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}


async def static(request: Request) -> Response:
    """Give a file, or say that it has not changed."""
    name: str = request.path_params["name"]
    if name not in _TYPES:
        raise NotFound("there is no such file")
    return _file(name).answer(request)


@cache
def _file(name: str) -> Publication:
    data = files("api.dashboard").joinpath("static", name).read_bytes()
    return Publication(data, _TYPES[name], {"x-content-type-options": "nosniff"})


ROUTES = (Route("/static/{name}", static, methods=["GET"]),)
