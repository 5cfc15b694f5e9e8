"""How fast bulk is begun: never so much at once that others feel it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

#: So many begin at a time where others are there: each of them is felt, as all share one process.
BESIDE_OTHERS: Final = 4

#: So many where nobody is: what is written together costs less.
ALONE: Final = 16

#: Whoever was there so shortly ago may be there again.
PRESENCE_SECONDS: Final = 1.0

#: Users with bulk that are remembered; beyond, those whose bulk was not seen lately are forgotten.
MAX_USERS: Final = 1000

#: What takes longer hardly computes: it waits for something, and the next may begin beside it.
BEGINNING_SECONDS: Final = 0.1


class Pace:
    """Lets few of bulk begin at a time, however many go on beside each other then. Belongs to one event loop.

    It holds up bulk, and never stops it: in any tenth of a second some may begin. Users who have bulk
    themselves are no others: what they wait for is their own.

    Parameters:
      clock: Seconds that only go forward.
      beginning_seconds: What goes on for longer has begun.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        beginning_seconds: float = BEGINNING_SECONDS,
    ) -> None:
        self._clock = clock
        self._beginning_seconds = beginning_seconds
        self._beginning = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._others = 0
        self._others_until = -PRESENCE_SECONDS
        self._bulk_until: dict[str, float] = {}

    @contextmanager
    def beside(self, user_id: str) -> Generator[None]:
        """Do what is not bulk: it waits for nothing, and bulk of others begins more slowly meanwhile."""
        if self._clock() < self._bulk_until.get(user_id, -PRESENCE_SECONDS):
            yield
            return
        self._others += 1
        try:
            yield
        finally:
            self._others -= 1
            self._others_until = self._clock()

    @asynccontextmanager
    async def begin(self, user_id: str) -> AsyncGenerator[None]:
        """Wait for one's turn; it passes to the next when what is within ends, or has gone on for a while."""
        loop = asyncio.get_running_loop()
        self._remember(user_id)
        if self._waiting or self._beginning >= self._most():
            await self._turn(loop.create_future())
        else:
            self._beginning += 1
        turn = _Turn(self._pass_on)
        timer = loop.call_later(self._beginning_seconds, turn.end)
        try:
            yield
        finally:
            timer.cancel()
            turn.end()

    async def _turn(self, called: "asyncio.Future[None]") -> None:
        self._waiting.append(called)
        try:
            await called
        except asyncio.CancelledError:
            if called.done() and not called.cancelled():
                self._pass_on()
            raise

    def _remember(self, user_id: str) -> None:
        now = self._clock()
        if len(self._bulk_until) >= MAX_USERS:
            self._bulk_until = {user: until for user, until in self._bulk_until.items() if now < until}
        self._bulk_until[user_id] = now + PRESENCE_SECONDS

    def _most(self) -> int:
        is_beside = self._others > 0 or self._clock() < self._others_until + PRESENCE_SECONDS
        return BESIDE_OTHERS if is_beside else ALONE

    def _pass_on(self) -> None:
        self._beginning -= 1
        while self._waiting and self._beginning < self._most():
            called = self._waiting.popleft()
            if not called.done():
                self._beginning += 1
                called.set_result(None)


class _Turn:
    """Ends once.

    Parameters:
      on_end: Called then.
    """

    def __init__(self, on_end: Callable[[], None]) -> None:
        self._on_end: Callable[[], None] | None = on_end

    def end(self) -> None:
        """End it, if it has not ended."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()
