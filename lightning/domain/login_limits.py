"""Limits on guessing passwords, which hold across processes.

An attempt is counted before its password is looked at, in fixed windows:

- each **pair** of account and address has few failures: the usual guesser;
- each **address** has more, whatever the accounts: one machine that tries many names;
- each **account** has more, whatever the addresses: many machines that try one name.

Nobody can lock a person out for long, or where they usually are. A window is short. And an address from
which the account was logged in to before does not ask for the account's limit, only for its own two: so a
crowd that uses up the account's limit keeps itself out, and not the owner at home. Whoever has no such
address yet waits for a window to end; sessions go on meanwhile.

An attempt that succeeds takes back its own counts and nobody else's: were they set to zero, a guesser could
clear an address by logging in to an account of their own now and then.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from lightning.domain.windows import Counted, Full, Windows, digest
from lightning.errors import Transient, Unauthorized
from lightning.storage import Body, Storage, Upsert

#: An address stays known for so long after a log-in from it.
KNOWN_SECONDS: Final = 90 * 24 * 3600

#: A known address is written again only when a day has gone by.
_RENEW_SECONDS: Final = 24 * 3600


class TooManyAttempts(Transient):
    """Too many passwords were wrong; the next one is looked at only when the window is over."""

    code = "too_many_attempts"
    status = 429


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many failures a window takes.

    Parameters:
      pair: From one address for one account.
      account: For one account, from addresses that are not known to be its owner's.
      address: From one address for any accounts.
      window_seconds: The length of a window, from its first failure on.
    """

    pair: int = 10
    account: int = 100
    address: int = 100
    window_seconds: int = 300


@dataclass(frozen=True, slots=True)
class _Counter:
    partition: str
    most: int


class LoginLimits:
    """Counts the failed attempts of all processes.

    Parameters:
      storage: The store.
      bounds: How many are allowed.
      container: The container of users.
      now: Unix time in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        bounds: Bounds,
        container: str = "users",
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._bounds = bounds
        self._container = container
        self._now = now
        self._windows = Windows(storage, "login-limit", bounds.window_seconds, container, now=now)

    @asynccontextmanager
    async def attempt(self, account_id: str, address: str) -> AsyncGenerator[None]:
        """Count an attempt for as long as the block does not show that it was none.

        A block that ends without an error was the right password; `Unauthorized` was a wrong one, and stays
        counted; after a `Transient` the password was not looked at.

        Parameters:
          account_id: The account that is meant, whether or not there is one.
          address: Where the attempt comes from.

        Raises:
          TooManyAttempts: A limit is reached; ``retry_after`` says when its window ends.
        """
        await self._windows.tidy()
        known = await self._known(account_id, address)
        counted = await self._count_all(self._counters(account_id, address, known=known is not None))
        try:
            yield
        except Unauthorized:
            raise
        except Exception:
            await self._windows.take_back(counted)
            raise
        await self._windows.take_back(counted)
        await self._remember(known, account_id, address)

    def _counters(self, account_id: str, address: str, *, known: bool) -> list[_Counter]:
        """Give the counters, those first that one machine alone can fill."""
        counters = [
            _Counter(self._windows.partition("address", address), self._bounds.address),
            _Counter(self._windows.partition("pair", f"{account_id} {address}"), self._bounds.pair),
        ]
        if not known:
            counters.append(_Counter(self._windows.partition("account", account_id), self._bounds.account))
        return counters

    async def _count_all(self, counters: Sequence[_Counter]) -> list[Counted]:
        counted: list[Counted] = []
        try:
            for counter in counters:
                counted.append(await self._count(counter))  # noqa: PERF401 -- what was counted is taken back
        except Transient:
            await self._windows.take_back(counted)
            raise
        return counted

    async def _count(self, counter: _Counter) -> Counted:
        try:
            return await self._windows.count(counter.partition, counter.most)
        except Full as full:
            message = "too many wrong passwords; wait before the next one"
            raise TooManyAttempts(message, retry_after=full.wait_seconds) from None

    async def _known(self, account_id: str, address: str) -> Body | None:
        stored = await self._storage.get(self._container, account_id, _known_document(address))
        return stored.body if stored is not None and stored.body["expiresAt"] > self._now() else None

    async def _remember(self, known: Body | None, account_id: str, address: str) -> None:
        expires_at = self._now() + KNOWN_SECONDS
        if known is not None and expires_at - known["expiresAt"] < _RENEW_SECONDS:
            return
        body: Body = {
            "id": _known_document(address),
            "userID": account_id,
            "kind": "knownAddress",
            "expiresAt": expires_at,
        }
        await self._storage.batch(self._container, account_id, [Upsert(body)])


def _known_document(address: str) -> str:
    return f"known-address-{digest(address)}"
