"""Readers of a user's log that want to know when there is more to read."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager


class Hub:
    """Wakes the readers of one process; a wake-up that comes early is kept until it is waited for."""

    def __init__(self) -> None:
        self._readers: dict[str, set[asyncio.Event]] = {}

    @contextmanager
    def reader(self, user_id: str) -> Generator[asyncio.Event]:
        """Listen for a user; the event is set whenever the user's log may have grown."""
        news = asyncio.Event()
        self._readers.setdefault(user_id, set()).add(news)
        try:
            yield news
        finally:
            readers = self._readers[user_id]
            readers.discard(news)
            if not readers:
                del self._readers[user_id]

    def wake(self, user_id: str) -> None:
        """Tell every reader of a user to look again."""
        for news in self._readers.get(user_id, ()):
            news.set()

    def wake_all(self) -> None:
        """Tell every reader to look again, so that it notices that the process stops."""
        for user_id in self._readers:
            self.wake(user_id)
