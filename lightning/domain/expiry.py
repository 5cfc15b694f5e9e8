"""Removes the documents of the container of users that are over: sessions, counters, invitations."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from lightning.errors import Conflict
from lightning.storage import Delete, Storage, Stored, Where

#: So many are removed at a time, more than the attempts between two sweeps can make.
_SWEEP_LIMIT: Final = 500


class Expiry:
    """Removes documents whose ``expiresAt``, in Unix seconds, is past.

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

    async def sweep(self) -> int:
        """Remove those that ended first; tell how many were found."""
        where = [Where("expiresAt", "<", self._now())]
        over = await self._storage.query(
            self._container, None, where, order_by="expiresAt", limit=_SWEEP_LIMIT
        )
        await asyncio.gather(*(self._remove(stored) for stored in over.items))
        return len(over.items)

    async def _remove(self, stored: Stored) -> None:
        try:
            await self._storage.batch(
                self._container, stored.body["userID"], [Delete(stored.body["id"], stored.etag)]
            )
        except Conflict:
            return  # it was renewed, or another process was first
