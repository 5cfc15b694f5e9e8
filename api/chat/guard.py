"""What stands before every request: whose it is, whether a page of ours sent it, how much it may bring."""

from typing import Final
from urllib.parse import urlsplit

from chainlit.auth import get_token_from_cookies
from chainlit.auth.jwt import decode_jwt
from jwt import InvalidTokenError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from api.chat.files import MAX_FILE_MIB
from api.chat.sessions import Session, Sessions
from api.chat.visit import Visit, current
from lightning.client import ClientError

_SAFE: Final = frozenset({"GET", "HEAD"})

#: A form with a file has some more than the file.
MAX_UPLOAD_BYTES: Final = MAX_FILE_MIB * 1024 * 1024 + 64 * 1024
MAX_BODY_BYTES: Final = 64 * 1024


class Guard:
    """Sets the visit of each request, and refuses what no page of ours would send.

    Parameters:
      app: What is behind it.
      sessions: Who is logged in.
      pages: Where the ingress's own pages are.
    """

    def __init__(self, app: ASGIApp, sessions: Sessions, pages: str) -> None:
        self._app = app
        self._sessions = sessions
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI 3)."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        refusal = _refusal(connection)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            session = await self._session(connection)
        except ClientError as error:  # the chat was started anew, and the platform is away
            await _refused(connection, str(error), 503)(scope, receive, send)
            return
        token = current.set(Visit(self._sessions, session, self._pages, _forwarded(connection)))
        try:
            if scope["type"] == "http":
                receive, send = _bounded(scope, receive), _secured(connection, send)
            await self._app(scope if session else _without_cookies(scope), receive, send)
        finally:
            current.reset(token)

    async def _session(self, connection: HTTPConnection) -> Session | None:
        """Find the session that the cookie names; its signature is good, but it may be over."""
        token = get_token_from_cookies(connection.cookies)
        if token is None:
            return None
        try:
            user = decode_jwt(token)
        except InvalidTokenError:
            return None
        return await self._sessions.find(user.identifier)


def _forwarded(connection: HTTPConnection) -> str:
    """Give the addresses that the request has come by, as a proxy passes them on."""
    peer = [] if connection.client is None else [connection.client.host]
    return ", ".join([*connection.headers.getlist("x-forwarded-for"), *peer])


def _refusal(connection: HTTPConnection) -> ASGIApp | None:
    """Give the answer to a request that is not taken."""
    if not _is_from_here(connection):
        return _refused(connection, "this is not from a page of this chat", 403)
    length, limit = connection.headers.get("content-length", "0"), _limit(connection.scope)
    if not length.isdecimal() or int(length) > limit:
        return _refused(connection, f"at most {limit} bytes", 413)
    return None


def _refused(connection: HTTPConnection, why: str, status: int) -> ASGIApp:
    is_socket = connection.scope["type"] == "websocket"
    return WebSocketClose(1008) if is_socket else PlainTextResponse(why, status)


def _limit(scope: Scope) -> int:
    return MAX_UPLOAD_BYTES if scope["path"].endswith("/project/file") else MAX_BODY_BYTES


def _is_from_here(connection: HTTPConnection) -> bool:
    """Tell whether a page of this host asks, where more is asked than to read.

    Browsers name the origin there, and WebSockets of other sites' pages would have our cookie else.
    """
    if connection.scope["type"] == "http" and connection.scope["method"] in _SAFE:
        return True
    return urlsplit(connection.headers.get("origin", "")).netloc == connection.headers.get("host")


def _without_cookies(scope: Scope) -> Scope:
    """Leave out the cookies, and every other way to say who asks: nobody does."""
    named = {b"cookie", b"authorization"}
    return {**scope, "headers": [each for each in scope["headers"] if each[0] not in named]}


def _bounded(scope: Scope, receive: Receive) -> Receive:
    limit = left = _limit(scope)

    async def bounded() -> Message:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"at most {limit} bytes")
        return message

    return bounded


def _secured(connection: HTTPConnection, send: Send) -> Send:
    forwarded = connection.headers.get("x-forwarded-proto", "").partition(",")[0].strip()
    is_https = "https" in {connection.url.scheme, forwarded}

    async def secured(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("x-content-type-options", "nosniff")
            headers.setdefault(
                "content-security-policy", "default-src 'none'; frame-ancestors 'none'; sandbox"
            )
            if is_https:
                cookies = headers.getlist("set-cookie")
                del headers["set-cookie"]
                for cookie in cookies:
                    headers.append("set-cookie", f"{cookie}; Secure")
        await send(message)

    return secured
