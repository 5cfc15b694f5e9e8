"""Whether a signed token still stands: its account may be disabled by now, its session over."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lightning.domain.accounts import Account, Accounts
from lightning.domain.service_tokens import ServiceTokens
from lightning.domain.sessions import Sessions
from lightning.domain.tokens import Claims
from lightning.errors import NotFound

#: What another process revoked is refused here after at most so long.
FRESH_SECONDS: Final = 5.0

_MAX_REMEMBERED: Final = 10_000

#: User, session and service token: all tokens of one grant stand and fall together.
_Grant = tuple[str, str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Standing:
    """The role in which tokens of a grant are good, None if in none, as it was read at a time."""

    role: str | None
    read_at: float


class Standings:
    """Asks the store about a grant, and remembers the answer for `FRESH_SECONDS`.

    Parameters:
      accounts: The accounts.
      sessions: Their sessions.
      service_tokens: Their service tokens.
      clock: Seconds that only go forward.
    """

    def __init__(
        self,
        accounts: Accounts,
        sessions: Sessions,
        service_tokens: ServiceTokens,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._accounts = accounts
        self._sessions = sessions
        self._service_tokens = service_tokens
        self._clock = clock
        self._known: dict[_Grant, _Standing] = {}
        self._reading: dict[_Grant, asyncio.Task[_Standing]] = {}

    async def stands(self, claims: Claims) -> bool:
        """Tell whether account, session and role of a token are still what it says.

        Raises:
          Transient: The store does not answer.
        """
        grant = (claims.subject, claims.session, claims.service_token)
        standing = self._known.get(grant)
        if standing is None or self._clock() - standing.read_at >= FRESH_SECONDS:
            standing = await self._read_once(grant)
        return standing.role == claims.role

    def forget(self, user_id: str) -> None:
        """Ask the store again about every token of a user, who was just changed in this process."""
        for memory in (self._known, self._reading):
            for grant in [grant for grant in memory if grant[0] == user_id]:
                del memory[grant]

    async def _read_once(self, grant: _Grant) -> _Standing:
        """Read a standing; requests that come meanwhile wait for the same answer."""
        reading = self._reading.get(grant)
        if reading is None:
            reading = asyncio.create_task(self._read_and_remember(grant))
            self._reading[grant] = reading
        # shielded: a request that is given up does not take the answer from the others
        return await asyncio.shield(reading)

    async def _read_and_remember(self, grant: _Grant) -> _Standing:
        this = asyncio.current_task()
        read_at = self._clock()
        try:
            standing = _Standing(await self._role(*grant), read_at)
            # what was forgotten while it was read may be out of date already
            if self._reading.get(grant) is this:
                self._remember(grant, standing)
        finally:
            if self._reading.get(grant) is this:
                del self._reading[grant]
        return standing

    def _remember(self, grant: _Grant, standing: _Standing) -> None:
        self._known.pop(grant, None)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[grant] = standing

    async def _role(self, user_id: str, session: str | None, service_token: str | None) -> str | None:
        account = await self._accounts.read(user_id)
        if account is None or account.disabled:
            return None
        if session is not None:
            return account.role if await self._sessions.holds(account, session) else None
        if service_token is not None:
            return account.role if await self._has(account, service_token) else None
        return None

    async def _has(self, account: Account, service_token: str) -> bool:
        try:
            await self._service_tokens.get(account.id, service_token)
        except NotFound:
            return False
        return True
