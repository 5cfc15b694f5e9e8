"""Counters in fixed windows, which hold across processes: each stands in a partition of its own."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from lightning.domain.expiry import Expiry
from lightning.storage import Body, Create, Operation, Replace, Storage, Stored

#: Documents that are over are removed once in so many counts.
_SWEEP_EVERY: Final = 100

_DOCUMENT: Final = "limit"


@dataclass(frozen=True, slots=True)
class Counted:
    """A count that may be taken back: whose, and until when its window lasts."""

    partition: str
    expires_at: float


class Full(Exception):
    """A window has taken all that it takes.

    Parameters:
      wait_seconds: How long it still lasts.
    """

    def __init__(self, wait_seconds: float) -> None:
        super().__init__(wait_seconds)
        self.wait_seconds = wait_seconds


class Windows:
    """The counters of one kind.

    Parameters:
      storage: The store.
      kind: What is counted; it names the documents.
      window_seconds: The length of a window, from its first count on.
      container: The container of users.
      now: Unix time in seconds.
    """

    def __init__(
        self,
        storage: Storage,
        kind: str,
        window_seconds: int,
        container: str = "users",
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._kind = kind
        self._window_seconds = window_seconds
        self._container = container
        self._now = now
        self._expiry = Expiry(storage, container, now=now)
        self._counts = 0

    def partition(self, name: str, value: str) -> str:
        """Name a counter; what is counted is hashed, since people type passwords into any field."""
        return f"{self._kind}-{name}-{digest(value)}"

    async def count(self, partition: str, most: int) -> Counted:
        """Count once more.

        Raises:
          Full: ``most`` were counted in this window.
        """
        expires_at = 0.0

        def build(stored: Stored | None) -> list[Operation]:
            nonlocal expires_at
            now = self._now()
            count, expires_at = 0, now + self._window_seconds
            if stored is not None and stored.body["expiresAt"] > now:
                count, expires_at = stored.body["count"], stored.body["expiresAt"]
            if count >= most:
                raise Full(expires_at - now)
            return [self._written(partition, stored, count + 1, expires_at)]

        await self._storage.batch_on(self._container, partition, _DOCUMENT, build)
        return Counted(partition, expires_at)

    async def take_back(self, counted: Sequence[Counted]) -> None:
        """Undo counts, where their windows are not over."""
        for each in counted:

            def build(stored: Stored | None, each: Counted = each) -> list[Operation]:
                if stored is None or stored.body["expiresAt"] != each.expires_at:
                    return []  # the window is over, and the count with it
                count = max(0, stored.body["count"] - 1)
                return [self._written(each.partition, stored, count, each.expires_at)]

            await self._storage.batch_on(self._container, each.partition, _DOCUMENT, build)

    async def tidy(self) -> None:
        """Remove what is over now and then, so that invented names leave nothing behind for long."""
        self._counts += 1
        if self._counts % _SWEEP_EVERY == 0:
            await self._expiry.sweep()

    def _written(self, partition: str, stored: Stored | None, count: int, expires_at: float) -> Operation:
        body: Body = {
            "id": _DOCUMENT,
            "userID": partition,
            "kind": self._kind,
            "count": count,
            "expiresAt": expires_at,
        }
        return Create(body) if stored is None else Replace(body, stored.etag)


def digest(value: str) -> str:
    """Name a value without showing it."""
    return hashlib.sha256(value.encode()).hexdigest()[:32]
