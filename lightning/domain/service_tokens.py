"""Service tokens: what a person gives a program, so that it may do some of what they may.

All tokens of an account stand in one document, which holds their names and scopes but not the tokens: so
their number is bounded without a race, and whether one was revoked is one point read.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from lightning.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed
from lightning.ids import new_id
from lightning.storage import Body, Create, Delete, Operation, Replace, Storage, Stored

MAX_SERVICE_TOKENS: Final = 50

#: A program that got hold of a token must not be able to make itself further ones.
NEVER_GRANTED: Final = "account"

_DOCUMENT: Final = "service-tokens"


class InvalidScope(InvalidRequest):
    """The scopes are not ones that a service token can have."""

    code = "invalid_scope"
    status = 422


@dataclass(frozen=True, slots=True)
class ServiceToken:
    """A token of a program, as its owner sees it.

    Parameters:
      id: Its id, the claim ``tid``.
      name: What its owner calls it.
      scopes: What it allows.
      created_at: When it was made, in Unix seconds.
      expires_at: From when on it is refused, in Unix seconds.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    created_at: int
    expires_at: int


class ServiceTokens:
    """The service tokens of all accounts.

    Parameters:
      storage: The store.
      container: The container of users.
      now: Unix time in seconds.
    """

    def __init__(
        self, storage: Storage, container: str = "users", *, now: Callable[[], float] = time.time
    ) -> None:
        self._storage = storage
        self._container = container
        self._now = now

    async def make(
        self, user_id: str, name: str, scopes: Sequence[str], lifetime_seconds: int
    ) -> ServiceToken:
        """Record a new service token.

        Raises:
          InvalidScope: A scope is one that no program gets, or there is none.
          Conflict: The account has as many as it may (``too_many_service_tokens``).
        """
        if not scopes or NEVER_GRANTED in scopes:
            message = f"a service token has at least one scope, and never {NEVER_GRANTED!r}"
            raise InvalidScope(message, pointer="/scopes")
        now = int(self._now())
        made = ServiceToken(new_id(), name, tuple(dict.fromkeys(scopes)), now, now + lifetime_seconds)

        def build(stored: Stored | None) -> list[Operation]:
            tokens = self._current(stored)
            if len(tokens) >= MAX_SERVICE_TOKENS:
                raise Conflict(
                    f"an account has at most {MAX_SERVICE_TOKENS} service tokens; revoke one",
                    code="too_many_service_tokens",
                )
            return [_written(user_id, stored, [*tokens, _entry(made)])]

        await self._storage.batch_on(self._container, user_id, _DOCUMENT, build)
        return made

    async def all(self, user_id: str) -> list[ServiceToken]:
        """List the tokens of an account that still hold, oldest first."""
        stored = await self._storage.get(self._container, user_id, _DOCUMENT)
        return [_token(entry) for entry in self._current(stored)]

    async def get(self, user_id: str, token_id: str) -> ServiceToken:
        """Read one token of an account.

        Raises:
          NotFound: The account has no such token.
        """
        for token in await self.all(user_id):
            if token.id == token_id:
                return token
        raise _nothing()

    async def revoke(self, user_id: str, token_id: str) -> None:
        """End a token of an account.

        Raises:
          NotFound: The account has no such token.
        """

        def build(stored: Stored | None) -> list[Operation]:
            tokens = self._current(stored)
            left = [entry for entry in tokens if entry["id"] != token_id]
            if len(left) == len(tokens):
                raise _nothing()
            return [_written(user_id, stored, left)]

        await self._storage.batch_on(self._container, user_id, _DOCUMENT, build)

    async def revoke_all(self, user_id: str) -> None:
        """End every token of an account."""
        with suppress(PreconditionFailed):  # there was none
            await self._storage.batch(self._container, user_id, [Delete(_DOCUMENT)])

    def _current(self, stored: Stored | None) -> list[Body]:
        entries: list[Body] = [] if stored is None else stored.body["tokens"]
        return [entry for entry in entries if entry["expiresAt"] > self._now()]


def _written(user_id: str, stored: Stored | None, tokens: list[Body]) -> Operation:
    body: Body = {"id": _DOCUMENT, "userID": user_id, "kind": "serviceTokens", "tokens": tokens}
    return Create(body) if stored is None else Replace(body, stored.etag)


def _entry(token: ServiceToken) -> Body:
    return {
        "id": token.id,
        "name": token.name,
        "scopes": list(token.scopes),
        "createdAt": token.created_at,
        "expiresAt": token.expires_at,
    }


def _token(entry: Body) -> ServiceToken:
    return ServiceToken(
        entry["id"], entry["name"], tuple(entry["scopes"]), entry["createdAt"], entry["expiresAt"]
    )


def _nothing() -> NotFound:
    return NotFound("there is no such service token, or it is not yours")
