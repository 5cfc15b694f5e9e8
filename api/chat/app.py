"""The part of Chainlit that is served, and what stands around it.

Only what the page needs leads to Chainlit: it has more routes (shared threads, MCP servers, log-ins by
others), which are not there. Every request is answered on behalf of one session, or of nobody.
"""

import contextlib
from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

from chainlit.server import app as chainlit
from chainlit.server import get_html_template  # pyright: ignore[reportUnknownVariableType]
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send

from api.chat import sockets, visit
from api.chat.downloads import download
from api.chat.files import MAX_FILE_MIB
from api.chat.guard import Guard
from api.chat.page import headers_of, without_other_hosts
from api.chat.sessions import Sessions
from api.chat.shown import FILES

#: Where the chat is, so that it can stand beside the ingress on one host.
ROOT: Final = "/chat"

_PAGES: Final = ("/", "/thread/{id}")

#: What the tabs of one session hold of files, which go when they are closed.
MAX_HELD_BYTES: Final = 64 * 1024 * 1024

#: For a year, which is as long as HTTP knows.
_FOR_GOOD: Final = "public, max-age=31536000, immutable"

#: What the page asks Chainlit for.
_ASKED: Final = (
    ("GET", "/public/names.js"),
    ("GET", "/public/page.css"),
    ("GET", "/favicon"),
    ("GET", "/logo"),
    ("GET", "/avatars/{id}"),
    ("GET", "/auth/config"),
    ("GET", "/project/translations"),
    ("GET", "/project/settings"),
    ("GET", "/project/thread/{id}"),
    ("PUT", "/project/thread"),
    ("DELETE", "/project/thread"),
    ("POST", "/project/threads"),
    ("POST", "/project/action"),
    ("GET", "/project/file/{id}"),
    ("POST", "/login"),
    ("POST", "/logout"),
)


def create_app(sessions: Sessions, pages: str) -> Starlette:
    """Build what the process serves.

    Parameters:
      sessions: Who is logged in.
      pages: Where the ingress's own pages are, as browsers find them.
    """
    sockets.check_connections()

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        sessions.forget_old()
        yield
        await sessions.aclose()

    routes = [
        Route("/", _to_the_chat),
        Route("/api/health", _health),
        Mount(ROOT, routes=_routes()),
    ]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.add_middleware(partial(Guard, sessions=sessions, pages=pages))
    return app


async def _to_the_chat(_: Request) -> Response:
    return RedirectResponse(f"{ROOT}/")


async def _health(_: Request) -> Response:
    return JSONResponse({"live": True})


async def _nothing(_: Request) -> Response:
    return JSONResponse({})


class _Upload:
    """Takes a file until its message is sent, as long as not too much waits for that."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_full = sockets.held_bytes() + MAX_FILE_MIB * 1024 * 1024 > MAX_HELD_BYTES
        answer = PlainTextResponse("close other tabs of the chat first", 413) if is_full else chainlit
        await answer(scope, receive, send)


class _User:
    """Tells who is logged in; that nobody is, which the page of the log-in asks, is no error."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = JSONResponse(None) if visit.current.get().session is None else chainlit
        await answer(scope, receive, send)


class _Assets:
    """Lets browsers keep what the page is made of: another version of it has another name."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                MutableHeaders(scope=message)["cache-control"] = _FOR_GOOD
            await send(message)

        await chainlit(scope, receive, kept)


def _routes() -> list[BaseRoute]:
    text = without_other_hosts(get_html_template(ROOT))
    headers = headers_of(text)

    async def login(_: Request) -> Response:
        return HTMLResponse(text, headers=headers)

    async def page(request: Request) -> Response:
        if visit.current.get().session is None:
            return RedirectResponse(f"{ROOT}/login")
        return await login(request)

    return [
        Route("/user", _User()),
        Route("/assets/{path:path}", _Assets(), methods=["GET"]),
        Route("/project/file", _Upload(), methods=["POST"]),
        Route("/login", login),
        *(Route(path, page) for path in _PAGES),
        *(Route(path, chainlit, methods=[method]) for method, path in _ASKED),
        Route(f"/{FILES}/{{repo}}/{{commit}}/{{path:path}}", download),
        # it would name the session in a cookie, for whoever has several servers
        Route("/set-session-cookie", _nothing, methods=["POST"]),
        WebSocketRoute("/ws/socket.io/", chainlit),
    ]
