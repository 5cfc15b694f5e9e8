"""The open streams of this process: how many a user may have, and for how long they last."""

import asyncio
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager

from lightning.domain.identity import Identity
from lightning.domain.tokens import Claims
from lightning.errors import Transient
from lightning.live import Hub, Mailbox

#: A stream whose token no longer counts ends within so long.
CHECK_SECONDS = 2.0

#: When to try again, for a user who has too many streams.
RETRY_SECONDS = 5.0


class TooManyStreams(Transient):
    """The user has as many streams as one may have."""

    code = "too_many_streams"
    status = 429


def until(claims: Claims) -> float:
    """Give the unix time at which the access token behind a token expires."""
    return float(claims.extra.get("until", claims.expires_at))


class Stream:
    """One open stream.

    Parameters:
      claims: Whose it is.
      mailbox: What is to be sent.
    """

    def __init__(self, claims: Claims, mailbox: Mailbox) -> None:
        self.claims = claims
        self.mailbox = mailbox
        self.expired = False
        self.left = False

    def expire(self) -> None:
        """End it, since its token no longer counts."""
        self.expired = True
        self.mailbox.wake()

    def leave(self) -> None:
        """End it, since its client has gone."""
        self.left = True
        self.mailbox.wake()


class Streams:
    """Opens streams and watches over them.

    Parameters:
      hub: Where news come from.
      identity: Tells whose tokens still count.
      per_user: So many streams may one user have open here.
    """

    def __init__(self, hub: Hub, identity: Identity, per_user: int) -> None:
        self._hub = hub
        self._identity = identity
        self._per_user = per_user
        self._open: set[Stream] = set()
        self._counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[Stream]:
        return iter(list(self._open))

    @contextmanager
    def open(self, claims: Claims, *, deltas: bool) -> Generator[Stream]:
        """Count a stream for as long as it lasts.

        Parameters:
          claims: Whose it is.
          deltas: Whether deltas are wanted.

        Raises:
          TooManyStreams: The user has as many as one may have.
        """
        user_id = claims.subject
        if self._counts[user_id] >= self._per_user:
            raise TooManyStreams(
                f"{self._per_user} streams are open; close one, or try again later", retry_after=RETRY_SECONDS
            )
        with self._hub.mailbox(user_id, deltas=deltas) as mailbox:
            stream = Stream(claims, mailbox)
            self._counts[user_id] += 1
            self._open.add(stream)
            try:
                yield stream
            finally:
                self._open.discard(stream)
                self._counts[user_id] -= 1
                if not self._counts[user_id]:
                    del self._counts[user_id]

    async def still_valid(self, claims: Claims) -> bool:
        """Tell whether the access token that a stream stems from still counts.

        While the store does not answer, what was valid stays so until it expires.
        """
        if until(claims) <= time.time():
            return False
        try:
            return await self._identity.still_valid(claims)
        except Transient:
            return True

    async def watch(self) -> None:
        """End the streams whose tokens no longer count, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for stream in self:
                if not await self.still_valid(stream.claims):
                    stream.expire()
