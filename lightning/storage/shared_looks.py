"""Looks that many want at once: whoever comes while one is under way shares the next one with all others.

One that has begun may miss what was written since, so it answers nobody who came later.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLooks(Generic[T]):
    """Looks at what keys name, each key once at a time. Belongs to one event loop.

    Parameters:
      look: Looks at what a key names; its answer is given to many, so nobody may change it.
    """

    def __init__(self, look: Callable[[str], Awaitable[T]]) -> None:
        self._look = look
        self._under_way: dict[str, asyncio.Future[None]] = {}
        self._next: dict[str, asyncio.Task[T]] = {}

    async def at(self, key: str) -> T:
        """Give what a look finds that begins now, or as soon as the one under way is over.

        Raises:
          Exception: What the look raises.
        """
        if key not in self._under_way and key not in self._next:
            return await self._begin(key)  # without a task, since this is the usual case
        if key not in self._next:
            self._next[key] = asyncio.create_task(self._begin_after(self._under_way[key], key))
            self._next[key].add_done_callback(_is_heard)
        return await asyncio.shield(self._next[key])

    async def _begin(self, key: str) -> T:
        over = self._under_way[key] = asyncio.get_running_loop().create_future()
        try:
            return await self._look(key)
        finally:
            del self._under_way[key]
            over.set_result(None)

    async def _begin_after(self, over: "asyncio.Future[None]", key: str) -> T:
        await over
        del self._next[key]  # whoever comes from here on is late
        return await self._begin(key)


def _is_heard(task: "asyncio.Task[T]") -> None:
    """Take note of an error that nobody waits for any more."""
    if not task.cancelled():
        task.exception()
