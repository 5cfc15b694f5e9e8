"""Invitations: who may register where registration is not open to all.

An invitation and the account that it lets in are in different partitions, so no batch spans both. The order
is: write the account as *pending*, which nobody can log in to; write its id into the invitation; make the
account a real one. The invitation is used once a *real* account bears its id, and not before. So a crash
between any two of these burns nothing: whoever holds the invitation registers again, under the same name or
another, and takes the place of the pending account that was left behind. Of two who use one invitation at
once the later one to write takes it over by removing the other's pending account, and the other's last
write then fails on its etag: one of them gets in.
"""

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from lightning.domain.accounts import DOCUMENT, Account, Accounts, taken
from lightning.errors import Conflict, Forbidden, LightningError, PreconditionFailed
from lightning.ids import new_id
from lightning.storage import Body, Create, Delete, Replace, Storage, Stored

#: A pending account that nobody came back for is removed after so long.
PENDING_SECONDS: Final = 24 * 3600

_PREFIX: Final = "lin_"
_MAX_TOKEN_CHARS: Final = 256
_DOCUMENT: Final = "invitation"


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation as it is handed over.

    Parameters:
      token: What the invited person shows when they register.
      expires_at: From when on it is refused, in Unix seconds.
    """

    token: str
    expires_at: int


class Invitations:
    """Invitations in a store, their secrets as hashes only.

    Parameters:
      storage: The store.
      accounts: The accounts.
      container: The container of users.
      now: Unix time in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        accounts: Accounts,
        container: str = "users",
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._accounts = accounts
        self._container = container
        self._now = now

    async def invite(self, lifetime_seconds: int) -> Invitation:
        """Make an invitation for one account."""
        invitation_id, secret = new_id(), secrets.token_urlsafe(32)
        body: Body = {
            "id": _DOCUMENT,
            "userID": _partition(invitation_id),
            "kind": "invitation",
            "secretHash": _hash(secret),
            "usedBy": None,
            "expiresAt": int(self._now()) + lifetime_seconds,
        }
        await self._storage.batch(self._container, body["userID"], [Create(body)])
        return Invitation(f"{_PREFIX}{invitation_id}.{secret}", body["expiresAt"])

    async def register(self, token: str, username: str, password: str) -> Account:
        """Make an account by an invitation, which is then used.

        Raises:
          Forbidden: The invitation is none, or over, or used (``invitation_refused``).
          InvalidAccount: The username or password will not do; the invitation is still good.
          Conflict: The username is taken; the invitation is still good.
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        invitation_id, secret = _parts(token)
        # refused before a password is hashed for it
        await self._usable(invitation_id, secret)
        body = await self._accounts.draft(username, password)
        pending = body | {
            "kind": "pendingAccount",
            "invitation": invitation_id,
            "expiresAt": int(self._now()) + PENDING_SECONDS,
        }
        etag = await self._accounts.place(pending)
        try:
            await self._claim(invitation_id, secret, body["userID"])
        except Forbidden:
            await self._withdraw(Stored(pending, etag))
            raise
        real = body | {"invitation": invitation_id}
        try:
            await self._storage.batch(self._container, body["userID"], [Replace(real, etag)])
        except PreconditionFailed:
            raise await self._lost(invitation_id, body["userID"]) from None
        return Account(body["userID"], body["username"], body["role"], created_at=body["createdAt"])

    async def _lost(self, invitation_id: str, account_id: str) -> LightningError:
        """Say who was faster: another with this name, or another with this invitation."""
        standing = await self._account(account_id)
        if standing is not None and standing.body.get("invitation") != invitation_id:
            return taken()
        return _refusal()

    async def _usable(self, invitation_id: str, secret: str) -> Stored:
        stored = await self._storage.get(self._container, _partition(invitation_id), _DOCUMENT)
        if stored is None or not hmac.compare_digest(stored.body["secretHash"], _hash(secret)):
            raise _refusal()
        if stored.body["expiresAt"] <= self._now() or await self._used(invitation_id, stored.body["usedBy"]):
            raise _refusal()
        return stored

    async def _used(self, invitation_id: str, account_id: str | None) -> bool:
        account = None if account_id is None else await self._account(account_id)
        return (
            account is not None
            and account.body["kind"] == "account"
            and account.body.get("invitation") == invitation_id
        )

    async def _claim(self, invitation_id: str, secret: str, account_id: str) -> None:
        """Write an account into the invitation, in the place of another that is still pending."""
        while True:
            stored = await self._usable(invitation_id, secret)
            holder = stored.body["usedBy"]
            if holder not in (None, account_id) and not await self._displaced(invitation_id, holder):
                continue
            changed = Replace(stored.body | {"usedBy": account_id}, stored.etag)
            try:
                await self._storage.batch(self._container, stored.body["userID"], [changed])
            except PreconditionFailed:
                continue
            return

    async def _displaced(self, invitation_id: str, account_id: str) -> bool:
        """Remove the pending account of an invitation; False when it changed meanwhile."""
        account = await self._account(account_id)
        if account is None or account.body.get("invitation") != invitation_id:
            return True
        return account.body["kind"] == "pendingAccount" and await self._withdraw(account)

    async def _withdraw(self, pending: Stored) -> bool:
        try:
            await self._storage.batch(
                self._container, pending.body["userID"], [Delete(DOCUMENT, pending.etag)]
            )
        except Conflict:
            return False
        return True

    async def _account(self, account_id: str) -> Stored | None:
        return await self._storage.get(self._container, account_id, DOCUMENT)


def _partition(invitation_id: str) -> str:
    return f"invitation-{invitation_id}"


def _hash(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _parts(token: str) -> tuple[str, str]:
    invitation_id, _, secret = token.removeprefix(_PREFIX).partition(".")
    well_formed = token.isascii() and len(token) <= _MAX_TOKEN_CHARS and token.startswith(_PREFIX)
    if not well_formed or not invitation_id or not secret:
        raise _refusal()
    return invitation_id, secret


def _refusal() -> Forbidden:
    return Forbidden(
        "the invitation is not accepted: it is none, over or used; ask the operators for another",
        code="invitation_refused",
        pointer="/invitation",
    )
