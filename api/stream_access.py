"""Who may open a stream: by which token, and from which page."""

from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from api.requests import authenticated, platform
from lightning.domain.tokens import Claims
from lightning.errors import Forbidden, InvalidRequest, Unauthorized

#: The cookie that `POST /api/stream-token` sets.
COOKIE = "lightning_stream"

#: A WebSocket's client may offer a stream token as a subprotocol that begins so; it is never echoed.
TOKEN_SUBPROTOCOL = "lightning.token."  # noqa: S105 -- no token

#: Query parameters that people put tokens into (RFC 6750, section 2.3, says why not).
_TOKEN_PARAMETERS = frozenset({"access_token", "token", "stream_token", "authorization", "jwt"})


async def stream_claims(connection: HTTPConnection) -> Claims:
    """Tell who opens a stream.

    Raises:
      InvalidRequest: ``token_in_url``.
      Unauthorized: There is no token, or none that counts here.
      Forbidden: ``foreign_origin``: another site's page asks.
    """
    _refuse_token_in_url(connection)
    by_header = "authorization" in connection.headers
    token = _bearer(connection) if by_header else _offered(connection)
    by_cookie = token is None and not by_header and COOKIE in connection.cookies
    _check_origin(connection, by_cookie=by_cookie)
    claims = _read(connection, connection.cookies[COOKIE] if by_cookie else token, by_header=by_header)
    if claims is None:
        claims = await authenticated(connection)
    if not await platform(connection).streams.still_valid(claims):
        raise Unauthorized("the access token has expired; ask for a new one", code="invalid_token")
    return claims


def _read(connection: HTTPConnection, token: str | None, *, by_header: bool) -> Claims | None:
    """Read a stream token; None: what a bearer shows is no stream token, but may be an access token."""
    if token is None:
        return None
    try:
        return platform(connection).tokens.verify(token, "stream")
    except Unauthorized:
        if by_header:
            return None
        raise


def _bearer(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers["authorization"].partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _offered(connection: HTTPConnection) -> str | None:
    offered: list[str] = connection.scope.get("subprotocols", [])
    tokens = (name.removeprefix(TOKEN_SUBPROTOCOL) for name in offered if name.startswith(TOKEN_SUBPROTOCOL))
    return next(tokens, None)


def _refuse_token_in_url(connection: HTTPConnection) -> None:
    if _TOKEN_PARAMETERS & {name.lower() for name in connection.query_params}:
        raise InvalidRequest(
            "a token in an address ends up in logs; send it as a bearer token, or let POST /api/stream-token "
            "set a cookie",
            code="token_in_url",
        )


def _check_origin(connection: HTTPConnection, *, by_cookie: bool) -> None:
    """Refuse pages of other sites (RFC 6455, section 10.2).

    A browser names the origin of a WebSocket always, but not that of a page which reads from its own
    site: there, Sec-Fetch-Site tells of others, and SameSite keeps the cookie from them.
    """
    origin = connection.headers.get("origin")
    if origin is None:
        is_websocket = connection.scope["type"] == "websocket"
        site = connection.headers.get("sec-fetch-site", "same-origin")
        foreign = by_cookie and (is_websocket or site not in {"same-origin", "none"})
    else:
        own = connection.headers.get("host", "").lower()
        foreign = host_of(origin) != own and not is_allowed_origin(connection, origin)
    if foreign:
        raise Forbidden(
            "pages of this origin may not open streams; LIGHTNING_ALLOWED_ORIGINS names those that may",
            code="foreign_origin",
        )


def host_of(origin: str) -> str | None:
    """Give host and port of an origin; None when it is none."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def is_allowed_origin(connection: HTTPConnection, origin: str) -> bool:
    """Tell whether the operators have named an origin."""
    named = platform(connection).settings.allowed_origins or ""
    return bool(origin) and origin.lower() in {each.strip().lower() for each in named.split(",")}
