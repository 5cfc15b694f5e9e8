"""The limit on accounts that one address makes, which holds across processes.

An attempt counts before its password is hashed, which is what costs us. It is taken back when it was refused
for its form, or by us. A name that is taken counts: otherwise one could ask for all names.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from lightning.domain.login_limits import TooManyAttempts
from lightning.domain.windows import Full, Windows
from lightning.errors import Conflict, LightningError
from lightning.storage import Storage

WINDOW_SECONDS: Final = 3600


class RegistrationLimit:
    """Counts the registrations of all processes.

    Parameters:
      storage: The store.
      most: How many one address may make in an hour.
    """

    def __init__(self, storage: Storage, most: int) -> None:
        self._windows = Windows(storage, "registration-limit", WINDOW_SECONDS)
        self._most = most

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncGenerator[None]:
        """Count a registration, unless the block refuses it.

        Raises:
          TooManyAttempts: The limit is reached (``too_many_registrations``).
        """
        await self._windows.tidy()
        try:
            counted = await self._windows.count(self._windows.partition("address", address), self._most)
        except Full as full:
            message = "too many accounts were made from your address; wait, or ask the operators for one"
            code = "too_many_registrations"
            raise TooManyAttempts(message, retry_after=full.wait_seconds, code=code) from None
        try:
            yield
        except Conflict:
            raise
        except LightningError:
            await self._windows.take_back([counted])
            raise
