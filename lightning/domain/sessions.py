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

import hmac
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from lightning.domain.accounts import DOCUMENT, Account, Accounts
from lightning.domain.refresh_tokens import (
    InvalidRefreshToken,
    RefreshToken,
    RefreshTokenReused,
    hash_secret,
    new_secret,
)
from lightning.errors import PreconditionFailed, Unauthorized
from lightning.ids import new_id
from lightning.storage import Body, Create, Delete, Operation, Replace, Storage, Stored, Where

#: A client gives up on an answer after half a minute, asks again, and must be understood.
GRACE_SECONDS: Final = 60

#: More at a time end the one that was used longest ago, so that programs that only log in fill no store.
MAX_SESSIONS: Final = 200

#: Surplus sessions that one log-in ends, well within a batch; the next ends further ones.
_ENDED_TOGETHER: Final = 50

_MAX_AGENT_CHARS: Final = 200

_log = structlog.get_logger(__name__)


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
    """What a log-in or a refresh gives.

    Parameters:
      account: Whose session it is.
      session_id: Its id.
      refresh_token: The refresh token to use next.
      seconds: How long that is good.
    """

    account: Account
    session_id: str
    refresh_token: str
    seconds: int


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
      longest_seconds: And one that was begun so long ago, however often it was refreshed.
      now: Unix time in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        accounts: Accounts,
        container: str = "users",
        *,
        lifetime_seconds: int = 30 * 24 * 3600,
        longest_seconds: int = 90 * 24 * 3600,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._lifetime_seconds = lifetime_seconds
        self._longest_seconds = longest_seconds
        self._storage = storage
        self._accounts = accounts
        self._container = container
        self._now = now

    def draft(self, account: Account, origin: Origin, token: RefreshToken | None = None) -> Draft:
        """Make a session without writing it."""
        token = token or RefreshToken.first(account.id, new_id())
        now = self._now()
        moment = _moment(now)
        body: Body = {
            "id": _document(token.session_id),
            "userID": account.id,
            "kind": "session",
            "generation": account.generation,
            "familyHash": hash_secret(token.family),
            "currentHash": hash_secret(token.secret),
            "previousHash": None,
            "salt": None,
            "rotatedAt": now,
            "createdAt": moment,
            "usedAt": moment,
            "expiresAt": int(now) + self._lifetime_seconds,
            "address": origin.address,
            "agent": origin.agent[:_MAX_AGENT_CHARS],
        }
        return Draft(body, self._grant(account, body, token))

    async def start(self, account: Account, origin: Origin, token: RefreshToken | None = None) -> Grant:
        """Begin a session.

        Parameters:
          account: As it was authenticated.
          origin: Where the log-in comes from.
          token: Its first token; a new one by default.

        Raises:
          Unauthorized: The account was changed since it was authenticated.
        """
        draft = self.draft(account, origin, token)
        while True:
            surplus = await self.surplus(account.id)

            def build(stored: Stored | None, surplus: Sequence[Operation] = surplus) -> list[Operation]:
                if stored is None or stored.body["generation"] != account.generation:
                    raise Unauthorized(
                        "the account was changed meanwhile; log in again", code="wrong_credentials"
                    )
                return [Create(draft.body), *surplus]

            try:
                await self._storage.batch_on(self._container, account.id, DOCUMENT, build)
            except PreconditionFailed:
                continue  # one of those that were to go has gone by itself, or was used
            return draft.grant

    async def rotate(self, text: str) -> Grant:
        """Take a refresh token and give the next one.

        Raises:
          InvalidRefreshToken: It is none, or its session is over.
          RefreshTokenReused: It was used before; its session is over now.
        """
        token = RefreshToken.read(text)
        account = await self._accounts.current(token.user_id)
        while True:
            stored = await self._of(token)
            if account is None or stored is None or not self._stands(account, stored.body):
                raise InvalidRefreshToken
            following = await self._follow(stored, token)
            if following is not None:
                return self._grant(account, *following)

    def _grant(self, account: Account, body: Body, token: RefreshToken) -> Grant:
        # as it was rotated; a repetition of the answer within the grace says the same
        seconds = int(self._ends_at(body)) - int(body["rotatedAt"])
        return Grant(account, token.session_id, str(token), seconds)

    async def _follow(self, stored: Stored, token: RefreshToken) -> tuple[Body, RefreshToken] | None:
        """Give the session, and the token after this one; None when somebody else changed it meanwhile."""
        body, shown = stored.body, hash_secret(token.secret)
        if hmac.compare_digest(body["currentHash"], shown):
            return await self._advance(stored, token)
        age_seconds = self._now() - body["rotatedAt"]
        if body["previousHash"] == shown and age_seconds <= GRACE_SECONDS:
            return body, token.following(body["salt"])
        try:
            await self._storage.batch(self._container, token.user_id, [Delete(body["id"], stored.etag)])
        except PreconditionFailed:
            return None  # what was read was not the latest, which may well know the token
        _log.warning("refresh_token_reused", user_id=token.user_id, session_id=token.session_id)
        raise RefreshTokenReused(token.user_id)

    async def _advance(self, stored: Stored, token: RefreshToken) -> tuple[Body, RefreshToken] | None:
        salt = new_secret()
        following, now = token.following(salt), self._now()
        changes = {
            "currentHash": hash_secret(following.secret),
            "previousHash": hash_secret(token.secret),
            "salt": salt,
            "rotatedAt": now,
            "usedAt": _moment(now),
            "expiresAt": int(now) + self._lifetime_seconds,
        }
        body = stored.body | changes
        body["expiresAt"] = int(self._ends_at(body))
        try:
            await self._storage.batch(self._container, token.user_id, [Replace(body, stored.etag)])
        except PreconditionFailed:
            return None
        return body, following

    async def revoke(self, text: str) -> str | None:
        """End the session of a refresh token, be it the current one or one before (RFC 7009).

        Returns:
          Whose session it was; None when the token names none.
        """
        try:
            token = RefreshToken.read(text)
        except InvalidRefreshToken:
            return None
        stored = await self._of(token)
        if stored is None:
            return None
        await self._remove(stored.body)
        return token.user_id

    async def _of(self, token: RefreshToken) -> Stored | None:
        """Read the session of a token, if the token was ever one of its."""
        stored = await self._storage.get(self._container, token.user_id, _document(token.session_id))
        if stored is None or not hmac.compare_digest(stored.body["familyHash"], hash_secret(token.family)):
            return None
        return stored

    async def end(self, user_id: str, session_id: str) -> bool:
        """End a session by its id; tell whether there was one."""
        stored = await self._storage.get(self._container, user_id, _document(session_id))
        if stored is None or stored.body["kind"] != "session":
            return False
        await self._remove(stored.body)
        return True

    async def _remove(self, body: Body) -> None:
        """End a session in whatever version it is; somebody else may have ended it meanwhile."""
        with suppress(PreconditionFailed):
            await self._storage.batch(self._container, body["userID"], [Delete(body["id"])])

    async def holds(self, account: Account, session_id: str, secret: str | None = None) -> bool:
        """Tell whether a session of an account has not ended, and whether a secret, if given, is its."""
        stored = await self._storage.get(self._container, account.id, _document(session_id))
        if stored is None or not self._stands(account, stored.body):
            return False
        return secret is None or hmac.compare_digest(stored.body["currentHash"], hash_secret(secret))

    async def all(self, account: Account) -> list[Session]:
        """List the sessions of an account, the one that was used last first."""
        bodies = [each.body for each in await self._stored(account.id) if self._stands(account, each.body)]
        return [self._shown(body) for body in sorted(bodies, key=lambda body: body["usedAt"], reverse=True)]

    def _stands(self, account: Account, body: Body) -> bool:
        current = body["generation"] == account.generation and self._ends_at(body) > self._now()
        return current and not account.disabled

    def _ends_at(self, body: Body) -> float:
        began = datetime.fromisoformat(body["createdAt"]).timestamp()
        return min(body["expiresAt"], began + self._longest_seconds)

    def _shown(self, body: Body) -> Session:
        return Session(
            id=body["id"].removeprefix("session-"),
            created_at=body["createdAt"],
            used_at=body["usedAt"],
            expires_at=datetime.fromtimestamp(self._ends_at(body), UTC).isoformat(),
            address=body["address"],
            agent=body["agent"],
        )

    async def surplus(self, user_id: str) -> list[Operation]:
        """Make the deletions that a further session needs: of those that end first."""
        sessions = await self._stored(user_id)
        number = min(max(0, len(sessions) + 1 - MAX_SESSIONS), _ENDED_TOGETHER)
        return [Delete(stored.body["id"], stored.etag) for stored in sessions[:number]]

    async def _stored(self, user_id: str) -> list[Stored]:
        """Read the sessions of a user, the one that ends first first."""
        where = [Where("kind", "=", "session")]
        found = await self._storage.query(
            self._container, user_id, where, order_by="expiresAt", limit=2 * MAX_SESSIONS
        )
        return found.items


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat()


def _document(session_id: str) -> str:
    return f"session-{session_id}"
