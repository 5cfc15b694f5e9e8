"""Sessions of browsers: the same documents as those of programs, kept by a cookie instead of refresh tokens.

The cookie is ``lbs_`` and the user, the session and a secret, of which the store has the hash. It does not
change with use, as a page has many requests under way at once; it ends with the session. It is no refresh
token, and no refresh token is one of these.
"""

from dataclasses import dataclass
from typing import Final

from lightning.domain.accounts import Account, Accounts
from lightning.domain.refresh_tokens import RefreshToken, new_secret
from lightning.domain.sessions import Origin, Sessions
from lightning.errors import Unauthorized
from lightning.ids import new_id

_PREFIX: Final = "lbs_"

#: What is hashed begins so, which no secret of a refresh token does.
_DOMAIN: Final = "browser."

_MAX_CHARS: Final = 512


@dataclass(frozen=True, slots=True)
class BrowserGrant:
    """What a log-in gives a browser.

    Parameters:
      cookie: The value of its cookie.
      seconds: How long that is good.
    """

    cookie: str
    seconds: int


@dataclass(frozen=True, slots=True)
class BrowserCaller:
    """Who shows a cookie.

    Parameters:
      account: Whose session it is.
      session_id: The session.
      secret: That of the cookie.
    """

    account: Account
    session_id: str
    secret: str


class BrowserSessions:
    """Begins and recognizes sessions of browsers.

    Parameters:
      accounts: The accounts.
      sessions: Their sessions.
    """

    def __init__(self, accounts: Accounts, sessions: Sessions) -> None:
        self._accounts = accounts
        self._sessions = sessions

    async def start(self, account: Account, origin: Origin) -> BrowserGrant:
        """Begin a session.

        Raises:
          Unauthorized: The account was changed since it was authenticated.
        """
        secret = new_secret()
        # its family is told to nobody, so there is nothing to refresh it with
        token = RefreshToken(account.id, new_id(), new_secret(), _DOMAIN + secret)
        grant = await self._sessions.start(account, origin, token)
        return BrowserGrant(f"{_PREFIX}{account.id}.{grant.session_id}.{secret}", grant.seconds)

    async def caller(self, cookie: str) -> BrowserCaller:
        """Tell who shows a cookie.

        Raises:
          Unauthorized: It is none of ours, or its session is over.
          Transient: The store does not answer.
        """
        parts = cookie.removeprefix(_PREFIX).split(".")
        readable = cookie.startswith(_PREFIX) and cookie.isascii() and len(cookie) <= _MAX_CHARS
        if not readable or len(parts) != 3 or not all(parts):
            raise _refusal()
        user_id, session_id, secret = parts
        account = await self._accounts.read(user_id)
        if account is None or not await self._sessions.holds(account, session_id, _DOMAIN + secret):
            raise _refusal()
        return BrowserCaller(account, session_id, secret)


def _refusal() -> Unauthorized:
    return Unauthorized("you are not logged in, or not any more; log in again", code="invalid_token")
