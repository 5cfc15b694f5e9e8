"""Which accounts are disabled, remembered for a moment: what fires by itself must not fire for them."""

import time
from collections.abc import Callable
from typing import Final

from lightning.domain.accounts import Accounts

#: An account that was disabled, or enabled, is known to be after at most so long.
FRESH_SECONDS: Final = 5.0

_MAX_REMEMBERED: Final = 10_000


class DisabledAccounts:
    """Asks the store about an account, and remembers the answer for `FRESH_SECONDS`.

    Parameters:
      accounts: The accounts.
      clock: Seconds that only go forward.
    """

    def __init__(self, accounts: Accounts, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = accounts
        self._clock = clock
        self._known: dict[str, tuple[bool, float]] = {}

    async def has(self, user_id: str) -> bool:
        """Tell whether a user's account is disabled.

        Whoever has none, as programs may post for others, is not.

        Raises:
          Transient: The store does not answer.
        """
        known = self._known.get(user_id)
        if known is not None and self._clock() - known[1] < FRESH_SECONDS:
            return known[0]
        read_at = self._clock()
        account = await self._accounts.read(user_id)
        disabled = account is not None and account.disabled
        self._known.pop(user_id, None)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known[user_id] = (disabled, read_at)
        return disabled
