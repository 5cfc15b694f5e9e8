"""Duplicate detection: a message-id is accepted once in a window."""

from collections import deque

from ops.emulators.servicebus.entities.clock import Clock
from ops.emulators.servicebus.entities.store import Store


class Duplicates:
    """The message-ids that an entity has seen lately.

    Parameters:
      entity: The entity's name.
      store: Where they are kept.
      clock: Tells the time.
    """

    def __init__(self, entity: str, store: Store, clock: Clock) -> None:
        self._entity = entity
        self._store = store
        self._clock = clock
        self._until: dict[str, float] = {}
        self._order: deque[tuple[float, str]] = deque()

    def is_duplicate(self, message_id: object, window_seconds: float) -> bool:
        """Tell whether an id was seen in the window; if not, it is from now on."""
        if message_id is None:
            return False
        now = self._clock.now()
        while self._order and self._order[0][0] <= now:
            del self._until[self._order.popleft()[1]]
        key = str(message_id)
        if key in self._until:
            return True
        self._store.remember(self._entity, key, now + window_seconds)
        self.restore(key, now + window_seconds)
        return False

    def restore(self, message_id: str, until: float) -> None:
        """Remember an id until a time in seconds since the epoch; ids come in the order of their times."""
        self._until[message_id] = until
        self._order.append((until, message_id))
