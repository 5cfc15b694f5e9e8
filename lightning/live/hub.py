"""Readers of a user's log that want to know when there is more to read, and what is being written."""

import asyncio
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from lightning.live.frames import Delta, RunFrame, RunLines, RunProgress
from lightning.live.mailbox import Mailbox

#: Answers under way whose place is remembered for one user, and as many runs.
MAX_ANSWERS = 32

_Place = TypeVar("_Place")


@dataclass(slots=True)
class _Channel:
    """What concerns one user."""

    readers: set[asyncio.Event] = field(default_factory=set[asyncio.Event])
    mailboxes: set[Mailbox] = field(default_factory=set[Mailbox])
    answers: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    printed: dict[str, int] = field(default_factory=dict[str, int])
    progress: dict[str, RunProgress] = field(default_factory=dict[str, RunProgress])

    def is_news(self, frame: RunFrame) -> bool:
        """Tell whether a run shows what was not shown yet, and note it: it may come on several ways."""
        match frame:
            case RunLines():
                is_news = frame.offset >= self.printed.get(frame.run, 0)
                if is_news:
                    _remember(self.printed, frame.run, frame.offset + len(frame.text))
                return is_news
            case RunProgress():
                known = self.progress.get(frame.run)
                is_news = known is None or (frame.at >= known.at and frame != known)
                if is_news:
                    _remember(self.progress, frame.run, frame)
                return is_news
            case _:
                return True

    def is_next(self, delta: Delta) -> bool:
        """Tell whether a delta goes on where its answer stands, and note it.

        Two workers may tell of one event, when the claim of the first ran out: a later attempt voids
        the earlier. A gap is let through, since the offset tells of it.
        """
        attempt, end = self.answers.get(delta.event, (-1, 0))
        is_next = delta.attempt > attempt or (delta.attempt == attempt and delta.offset >= end)
        if is_next:
            attempt, end = delta.attempt, delta.offset + len(delta.text)
        _remember(self.answers, delta.event, (attempt, end))
        return is_next


def _remember(known: dict[str, _Place], key: str, place: _Place) -> None:
    known.pop(key, None)
    known[key] = place
    if len(known) > MAX_ANSWERS:
        del known[next(iter(known))]


class Hub:
    """Wakes the readers of one process; a wake-up that comes early is kept until it is waited for."""

    def __init__(self) -> None:
        self._channels: dict[str, _Channel] = {}

    def __len__(self) -> int:
        """Count everybody who listens."""
        return sum(len(each.readers) + len(each.mailboxes) for each in self._channels.values())

    @contextmanager
    def reader(self, user_id: str) -> Generator[asyncio.Event]:
        """Listen for a user; the event is set whenever the user's log may have grown."""
        news = asyncio.Event()
        with self._channel(user_id) as channel:
            channel.readers.add(news)
            try:
                yield news
            finally:
                channel.readers.discard(news)

    @contextmanager
    def mailbox(self, user_id: str, *, deltas: bool) -> Generator[Mailbox]:
        """Listen for a user for as long as a stream is open.

        Parameters:
          user_id: Whose log.
          deltas: Whether deltas are wanted.
        """
        mailbox = Mailbox(deltas=deltas)
        with self._channel(user_id) as channel:
            channel.mailboxes.add(mailbox)
            try:
                yield mailbox
            finally:
                channel.mailboxes.discard(mailbox)

    @contextmanager
    def _channel(self, user_id: str) -> Generator[_Channel]:
        channel = self._channels.setdefault(user_id, _Channel())
        try:
            yield channel
        finally:
            if not (channel.readers or channel.mailboxes):
                self._channels.pop(user_id, None)

    def wake(self, user_id: str) -> None:
        """Tell every reader of a user to look again."""
        channel = self._channels.get(user_id)
        if channel is not None:
            for news in channel.readers:
                news.set()
            for mailbox in channel.mailboxes:
                mailbox.wake()

    def wake_all(self) -> None:
        """Tell every reader to look again, so that it notices that the process stops."""
        for user_id in list(self._channels):
            self.wake(user_id)

    def deliver(self, user_id: str, deltas: Iterable[Delta]) -> None:
        """Leave deltas for every stream of a user, in order; what an attempt before wrote is dropped."""
        channel = self._channels.get(user_id)
        if channel is None:
            return
        for delta in deltas:
            if channel.is_next(delta):
                for mailbox in channel.mailboxes:
                    mailbox.put(delta)

    def tell(self, user_id: str, frames: Iterable[RunFrame]) -> None:
        """Leave what runs show of themselves for every stream of a user, in order and once."""
        channel = self._channels.get(user_id)
        if channel is None:
            return
        for frame in frames:
            if channel.is_news(frame):
                for mailbox in channel.mailboxes:
                    mailbox.put_run(frame)

    def followed(self) -> list[str]:
        """Name the users who have an open stream."""
        return [user_id for user_id, channel in self._channels.items() if channel.mailboxes]

    def reached(self, user_id: str, seq: int) -> None:
        """Say how far a user's log goes; streams that were given all of it are left alone."""
        channel = self._channels.get(user_id)
        for mailbox in () if channel is None else channel.mailboxes:
            if mailbox.position < seq:
                mailbox.wake()
