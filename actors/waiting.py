"""Who waits for a place in this process: to be called, or to look again by themselves."""

import math
from collections.abc import Callable, Iterator
from typing import Final

from lightning.pacing import Lines
from lightning.queue import Wakeup

#: Who waits looks again after so long at least, whether called or not: another process may have room.
LOOK_SECONDS: Final = 5.0

#: The looks of all who wait are about so far apart, however long the last one waits then: more at a time
#: would hold the threads that put them aside.
LOOK_APART_SECONDS: Final = 0.02

#: Events of one user that are remembered, and users; those beyond come by themselves.
MAX_EVENTS: Final = 64
MAX_USERS: Final = 1000


class Waiting:
    """Remembers who waits, in memory: what it forgets looks again by itself.

    Every user has a line of looks, so that nobody's looks are put off for how many others have.

    Parameters:
      randomness: Gives numbers from 0 to 1, which spread the looks of many processes.
    """

    def __init__(self, randomness: Callable[[], float]) -> None:
        self._lines = Lines(
            LOOK_APART_SECONDS, math.inf, most_lines=MAX_USERS, shared=True, randomness=randomness
        )
        self._events: dict[str, dict[str, Wakeup]] = {}  # by user and event, those called last at the end

    def look_seconds(self, user_id: str, now: float) -> float:
        """Give the time after which the next event of a user looks again, if not called before."""
        return self._lines.wait(user_id, now, LOOK_SECONDS)

    def add(self, message: Wakeup) -> None:
        """Remember who is to be called, while there is room for that."""
        if message.user_id not in self._events and len(self._events) >= MAX_USERS:
            return
        events = self._events.setdefault(message.user_id, {})
        if message.event_id in events or len(events) < MAX_EVENTS:
            events[message.event_id] = message

    def is_newer(self, message: Wakeup) -> bool:
        """Tell whether an event waits under a later wake than that of a message."""
        waiting = self._events.get(message.user_id, {}).get(message.event_id)
        return waiting is not None and message.wake < waiting.wake

    def users(self) -> Iterator[str]:
        """List the users for whom there is somebody to call, those called last at the end."""
        return iter(self._events)

    def call(self, user_id: str) -> Wakeup:
        """Take out the event of a user that has waited longest; the user is behind all others then."""
        message = next(iter(self._events[user_id].values()))
        self.drop(user_id, message.event_id)
        if user_id in self._events:
            self._events[user_id] = self._events.pop(user_id)
        return message

    def drop(self, user_id: str, event_id: str) -> None:
        """Forget an event that is not to be called any more."""
        events = self._events.get(user_id, {})
        events.pop(event_id, None)
        if not events:
            self._events.pop(user_id, None)
