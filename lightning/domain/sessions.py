"""Sessions: one a log-in, kept alive by a refresh token that changes with every use (RFC 9700, 4.14.2).

A refresh token is ``lrt_`` and the user, the session, the session's *family* secret and the *current* secret.
The store holds hashes of both. The family proves that the bearer once had a token of this session, so that
nobody can end another's session with an invented token; the current secret is replaced at each refresh.

A token that comes a second time ends the session: one of its two bearers is a thief. But an answer can be
lost, also because the process died after the rotation was recorded. Therefore the next secret follows from
the one before and a salt in the store, and for `GRACE_SECONDS` the token before still gives the same answer
again, whichever process is asked. A thief gains nothing by it that the theft did not give: both then hold
the same token, and whoever uses it later is noticed.
"""

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from lightning.domain.accounts import DOCUMENT, Account, Accounts
from lightning.errors import PreconditionFailed, Unauthorized
from lightning.ids import new_id
from lightning.storage import Body, Create, Delete, Operation, Replace, Storage, Stored, Where

#: A client gives up on an answer after half a minute, asks again, and must be understood.
GRACE_SECONDS: Final = 60

#: More at a time end the one that was used longest ago, so that programs that only log in fill no store.
MAX_SESSIONS: Final = 200

_REFUSED: Final = "the refresh token is not accepted; log in again"
_PREFIX: Final = "lrt_"
_MAX_TOKEN_CHARS: Final = 512
_MAX_AGENT_CHARS: Final = 200

_log = structlog.get_logger(__name__)


class RefreshTokenReused(Unauthorized):
    """A refresh token came a second time, which ended its session.

    Parameters:
      user_id: Whose session it was.
    """

    code = "invalid_refresh_token"

    def __init__(self, user_id: str) -> None:
        super().__init__(_REFUSED)
        self.user_id = user_id


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a log-in comes from, so that people recognize their sessions.

    Parameters:
      address: The client's network address.
      agent: What its program calls itself.
    """

    address: str = ""
    agent: str = ""


@dataclass(frozen=True, slots=True)
class Session:
    """One log-in that has not ended; times as RFC 3339 has them."""

    id: str
    created_at: str
    used_at: str
    expires_at: str
    address: str
    agent: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What a log-in or a refresh gives: the session, whose it is, and the refresh token to use next."""

    account: Account
    session_id: str
    refresh_token: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A session that is not written yet."""

    body: Body
    grant: Grant


class Sessions:
    """The sessions of all accounts.

    Parameters:
      storage: The store.
      accounts: The accounts.
      container: The container of users.
      lifetime_seconds: A session that is not refreshed for so long has ended.
      now: Unix time in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        accounts: Accounts,
        container: str = "users",
        *,
        lifetime_seconds: int = 30 * 24 * 3600,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._storage = storage
        self._accounts = accounts
        self._container = container
        self._now = now

    def draft(self, account: Account, origin: Origin) -> Draft:
        """Make a session without writing it."""
        session_id, family, secret = new_id(), _new_secret(), _new_secret()
        moment = self._moment()
        body: Body = {
            "id": _document(session_id),
            "userID": account.id,
            "kind": "session",
            "generation": account.generation,
            "familyHash": _hash(family),
            "currentHash": _hash(secret),
            "previousHash": None,
            "salt": None,
            "rotatedAt": self._now(),
            "createdAt": moment,
            "usedAt": moment,
            "expiresAt": int(self._now()) + self.lifetime_seconds,
            "address": origin.address,
            "agent": origin.agent[:_MAX_AGENT_CHARS],
        }
        return Draft(body, Grant(account, session_id, _token(account.id, session_id, family, secret)))

    async def start(self, account: Account, origin: Origin) -> Grant:
        """Begin a session.

        Parameters:
          account: As it was authenticated.
          origin: Where the log-in comes from.

        Raises:
          Unauthorized: The account was changed since it was authenticated.
        """
        draft = self.draft(account, origin)
        surplus = await self._surplus(account.id)

        def build(stored: Stored | None) -> list[Operation]:
            if stored is None or stored.body["generation"] != account.generation:
                raise Unauthorized(
                    "the account was changed meanwhile; log in again", code="wrong_credentials"
                )
            return [Create(draft.body), *(Delete(document) for document in surplus)]

        await self._storage.batch_on(self._container, account.id, DOCUMENT, build)
        return draft.grant

    async def rotate(self, token: str) -> Grant:
        """Take a refresh token and give the next one.

        Raises:
          Unauthorized: The token is none, or has ended, or was used before: then its session ends too.
        """
        user_id, session_id, family, secret = _parts(token)
        account = await self._accounts.read(user_id)
        while True:
            stored = await self._storage.get(self._container, user_id, _document(session_id))
            if account is None or stored is None or not self._stands(account, stored.body):
                raise _refusal()
            if not hmac.compare_digest(stored.body["familyHash"], _hash(family)):
                raise _refusal()
            following = await self._follow(stored, family, secret)
            if following is not None:
                return Grant(account, session_id, _token(user_id, session_id, family, following))

    async def _follow(self, stored: Stored, family: str, secret: str) -> str | None:
        """Give the secret after this one; None when somebody else changed the session meanwhile."""
        body, shown = stored.body, _hash(secret)
        if hmac.compare_digest(body["currentHash"], shown):
            salt = _new_secret()
            following = _successor(family, secret, salt)
            changes = {
                "currentHash": _hash(following),
                "previousHash": shown,
                "salt": salt,
                "rotatedAt": self._now(),
                "usedAt": self._moment(),
                "expiresAt": int(self._now()) + self.lifetime_seconds,
            }
            try:
                await self._storage.batch(
                    self._container, body["userID"], [Replace(body | changes, stored.etag)]
                )
            except PreconditionFailed:
                return None
            return following
        repeated = body["previousHash"] == shown and self._now() - body["rotatedAt"] <= GRACE_SECONDS
        if repeated:
            return _successor(family, secret, body["salt"])
        await self._storage.batch(self._container, body["userID"], [Delete(body["id"])])
        _log.warning("refresh_token_reused", user_id=body["userID"], session=body["id"])
        raise RefreshTokenReused(body["userID"])

    async def revoke(self, token: str) -> tuple[str, str] | None:
        """End the session of a refresh token, be it the current one or one before (RFC 7009).

        Returns:
          User and session that the token names; None when it names none.
        """
        try:
            user_id, session_id, family, _ = _parts(token)
        except Unauthorized:
            return None
        stored = await self._storage.get(self._container, user_id, _document(session_id))
        if stored is None or not hmac.compare_digest(stored.body["familyHash"], _hash(family)):
            return None
        await self._storage.batch(self._container, user_id, [Delete(stored.body["id"])])
        return user_id, session_id

    async def end(self, user_id: str, session_id: str) -> bool:
        """End a session by its id; tell whether there was one."""
        stored = await self._storage.get(self._container, user_id, _document(session_id))
        if stored is None or stored.body["kind"] != "session":
            return False
        await self._storage.batch(self._container, user_id, [Delete(stored.body["id"])])
        return True

    async def holds(self, account: Account, session_id: str) -> bool:
        """Tell whether a session of an account has not ended."""
        stored = await self._storage.get(self._container, account.id, _document(session_id))
        return stored is not None and self._stands(account, stored.body)

    async def all(self, account: Account) -> list[Session]:
        """List the sessions of an account, the one that was used last first."""
        bodies = [body for body in await self._bodies(account.id) if self._stands(account, body)]
        return [_shown(body) for body in sorted(bodies, key=lambda body: body["usedAt"], reverse=True)]

    def _stands(self, account: Account, body: Body) -> bool:
        current = body["generation"] == account.generation and body["expiresAt"] > self._now()
        return current and not account.disabled

    async def _surplus(self, user_id: str) -> list[str]:
        bodies = await self._bodies(user_id)
        return [body["id"] for body in bodies[: max(0, len(bodies) + 1 - MAX_SESSIONS)]]

    async def _bodies(self, user_id: str) -> list[Body]:
        """Read the sessions of a user, the one that ends first first."""
        where = [Where("kind", "=", "session")]
        found = await self._storage.query(
            self._container, user_id, where, order_by="expiresAt", limit=2 * MAX_SESSIONS
        )
        return [stored.body for stored in found.items]

    def _moment(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat()


def ending(session_id: str) -> Delete:
    """Give the operation that ends a session, for a batch of the user's."""
    return Delete(_document(session_id))


def _document(session_id: str) -> str:
    return f"session-{session_id}"


def _new_secret() -> str:
    return secrets.token_urlsafe(32)


def _hash(secret: str) -> str:
    # 256 random bits need no slow hash: nobody can try them all
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()


def _successor(family: str, secret: str, salt: str) -> str:
    digest = hmac.digest(f"{family}.{secret}".encode(), salt.encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _token(*parts: str) -> str:
    return _PREFIX + ".".join(parts)


def _parts(token: str) -> tuple[str, str, str, str]:
    parts = token.removeprefix(_PREFIX).split(".")
    if not token.startswith(_PREFIX) or len(token) > _MAX_TOKEN_CHARS or len(parts) != 4:
        raise _refusal()
    if not all(part.isascii() and part for part in parts):
        raise _refusal()
    user_id, session_id, family, secret = parts
    return user_id, session_id, family, secret


def _shown(body: Body) -> Session:
    return Session(
        id=body["id"].removeprefix("session-"),
        created_at=body["createdAt"],
        used_at=body["usedAt"],
        expires_at=datetime.fromtimestamp(body["expiresAt"], UTC).isoformat(),
        address=body["address"],
        agent=body["agent"],
    )


def _refusal() -> Unauthorized:
    return Unauthorized(_REFUSED, code="invalid_refresh_token")
