"""Who may use the threads of a process: no user takes all of them."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from actors.waiting import Waiting
from lightning.queue import Wakeup

#: A place is kept so long for who was called; another process may have answered the call, or many wait
#: in the queue before it.
CALL_SECONDS: Final = 0.5

#: Where work usually takes less than this, none is kept: it would be free longer than taken.
SLOW_SECONDS: Final = 1.0

#: A place is waited for so long before one is put aside. It bounds how fast threads that have nothing else
#: to do put a backlog aside, which costs about what quick work does.
PATIENCE_SECONDS: Final = 0.2

#: Whoever waited so in vain is put aside at once, until work of theirs takes less than this: else a backlog
#: of one user would hold all threads, a moment for each of its messages. Where work is so quick, a place is
#: free before patience ends; to put each of a crowd aside would make a busy process busier still.
QUICK_SECONDS: Final = PATIENCE_SECONDS

#: Users of whom it is known that they waited in vain.
MAX_IN_VAIN: Final = 1000


class Places:
    """The places of one kind of work in a process. Belongs to one event loop.

    Nobody is called before somebody who holds fewer places, and who is not called takes none
    that is kept for who is. So whoever holds many gives way, one place after the other.

    Parameters:
      total: Events at a time, of everybody.
      per_user: Events of one user at a time.
      clock: Seconds that only go forward.
      randomness: Gives numbers from 0 to 1.
    """

    def __init__(
        self,
        total: int,
        per_user: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        randomness: Callable[[], float] = random.random,
    ) -> None:
        self._total = total
        self._per_user = min(per_user, total)
        self._clock = clock
        self._waiting = Waiting(randomness)
        self._usual_seconds = SLOW_SECONDS  # what an event takes, learnt
        self._freed = asyncio.Event()
        self._in_vain: set[str] = set()  # users who waited so for a place
        self._taken: Counter[str] = Counter()  # by user: held, or kept for who was called
        self._kept: dict[tuple[str, str], float] = {}  # by user and event: until when

    async def enter(self, user_id: str, event_id: str) -> bool:
        """Take a place for an event, now or in a moment; False when there is none."""
        if self._take(user_id, event_id):  # without a timer, since this is the usual case
            return True
        if user_id in self._in_vain:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not self._take(user_id, event_id):
                    await self._freed.wait()
                return True
        if len(self._in_vain) >= MAX_IN_VAIN:
            self._in_vain.clear()  # it costs each of them a moment
        self._in_vain.add(user_id)
        return False

    def leave(self, user_id: str, seconds: float | None) -> None:
        """Give a place back.

        Parameters:
          user_id: Whose place it was.
          seconds: How long they worked in it; None when there was nothing to do, which tells nothing of work.
        """
        if seconds is not None:
            self._usual_seconds += (seconds - self._usual_seconds) / 4
            if seconds < QUICK_SECONDS:
                self._in_vain.discard(user_id)
        self._free(user_id)

    def _take(self, user_id: str, event_id: str) -> bool:
        self._forget_late()
        if self._kept.pop((user_id, event_id), None) is None:
            if self._taken.total() >= self._total or self._taken[user_id] >= self._per_user:
                return False
            self._taken[user_id] += 1
        self._waiting.drop(user_id, event_id)
        return True

    def _free(self, user_id: str) -> None:
        self._taken -= Counter({user_id: 1})
        self._freed.set()
        self._freed = asyncio.Event()

    def wait_seconds(self, user_id: str) -> float:
        """Give the time after which one who found no place looks again, if not called before."""
        return self._waiting.look_seconds(user_id, self._clock())

    def wait(self, message: Wakeup) -> None:
        """Remember who waits, to be called as soon as there is a place."""
        self._waiting.add(message)

    def call(self) -> list[Wakeup]:
        """Name those for whom there is a place now; where work is slow, it is kept for them a moment."""
        self._forget_late()
        until = self._clock() + CALL_SECONDS
        called: list[Wakeup] = []
        taken = self._taken.copy()
        while taken.total() < self._total:
            users = [user for user in self._waiting.users() if taken[user] < self._per_user]
            if not users:
                break
            user_id = min(users, key=taken.__getitem__)
            message = self._waiting.call(user_id)
            taken[user_id] += 1
            called.append(message)
            if self._usual_seconds >= SLOW_SECONDS:
                self._taken[user_id] += 1
                self._kept[user_id, message.event_id] = until
        return called

    def keeps_some(self) -> bool:
        """Tell whether a place is kept for somebody who was called."""
        return bool(self._kept)

    def _forget_late(self) -> None:
        """Give back the places of those who were called and did not come."""
        now = self._clock()
        for key, until in list(self._kept.items()):
            if until <= now:
                del self._kept[key]
                self._free(key[0])
