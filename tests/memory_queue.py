"""A queue that a test can look into, and a clock that it moves by hand."""

import time
from collections.abc import Awaitable, Callable, Sequence

from lightning.errors import Transient
from lightning.queue import Queue, Wakeup


class MemoryQueue(Queue):
    """Remembers what was sent; may be told to fail, and how long the oldest message of an actor waits."""

    def __init__(self):
        self.sent: list[Wakeup] = []
        self.failing = False
        self.oldest: dict[str | None, float] = {}
        self.at_send: Callable[[], Awaitable[None]] | None = None

    async def send(self, wakeups: Sequence[Wakeup]) -> None:
        if self.at_send is not None:
            await self.at_send()
        if self.failing:
            raise Transient("the queue is away", code="queue_unavailable")
        self.sent.extend(wakeups)

    async def oldest_age_seconds(self, actor: str | None = None, *, bulk: bool = False) -> float | None:
        if self.failing:
            raise Transient("the queue is away", code="queue_unavailable")
        return self.oldest.get(f"{actor} bulk" if bulk else actor)

    async def depth(self) -> int:
        return len(self.sent)

    async def check(self) -> None:
        await self.oldest_age_seconds()

    async def close(self) -> None:
        pass

    def take(self) -> list[Wakeup]:
        """Take out what was sent so far."""
        taken, self.sent = self.sent, []
        return taken


class Clock:
    """Stands still until it is moved; it begins at the present, which the step reads for itself."""

    def __init__(self):
        self.now = time.time()

    def __call__(self) -> float:
        return self.now
