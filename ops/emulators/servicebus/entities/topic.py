"""A topic: each of its subscriptions gets a copy of every message (the true filter)."""

from collections.abc import Iterable
from functools import partial

from ops.emulators.servicebus.entities.clock import Alarm, Clock
from ops.emulators.servicebus.entities.duplicates import Duplicates
from ops.emulators.servicebus.entities.errors import message_not_found
from ops.emulators.servicebus.entities.message import Message, State
from ops.emulators.servicebus.entities.properties import EntityProperties
from ops.emulators.servicebus.entities.queue import Queue
from ops.emulators.servicebus.entities.store import Store


class Topic:
    """Takes messages for its subscriptions, and holds those that are scheduled until they are due.

    Parameters:
      name: Its path.
      properties: Its duplicate detection and time to live.
      clock: What wakes it.
      store: Where its scheduled messages are kept.
    """

    def __init__(self, name: str, properties: EntityProperties, *, clock: Clock, store: Store) -> None:
        self.name = name
        self.properties = properties
        self.subscriptions: dict[str, Queue] = {}
        self.messages: dict[int, Message] = {}  #: those that are scheduled
        self.duplicates = Duplicates(name, store, clock)
        self._clock = clock
        self._store = store
        self.last_sequence = 0
        self._alarms: dict[int, Alarm] = {}

    def accept(self, messages: Iterable[Message]) -> list[int]:
        """Take new messages; see `Queue.accept`."""
        return [self._take(message) for message in messages]

    def restore(self, message: Message) -> None:
        """Put back a scheduled message that the store has kept."""
        self.last_sequence = max(self.last_sequence, message.sequence)
        self._wait(message)

    def cancel_scheduled(self, sequences: list[int]) -> None:
        """Drop scheduled messages, all or none.

        Raises:
          EntityError: One is not, or no longer, scheduled.
        """
        for sequence in sequences:
            if sequence not in self.messages:
                raise message_not_found(sequence)
        for sequence in sequences:
            self._forget(self.messages[sequence])

    def peek(self, sequence: int, count: int) -> list[Message]:
        """Give scheduled messages from a sequence number on."""
        numbers = sorted(number for number in self.messages if number >= sequence)
        return [self.messages[number] for number in numbers[:count]]

    def _take(self, message: Message) -> int:
        window = self.properties.duplicate_window
        if window is not None and self.duplicates.is_duplicate(message.message_id(), window):
            return 0
        self.last_sequence += 1
        message.sequence = self.last_sequence
        if message.scheduled_at is not None and message.scheduled_at > self._clock.now():
            message.state = State.SCHEDULED
            self._store.put(self.name, message)
            self._wait(message)
        else:
            self._fan_out(message)
        return message.sequence

    def _wait(self, message: Message) -> None:
        self.messages[message.sequence] = message
        due = message.scheduled_at or 0.0
        self._alarms[message.sequence] = self._clock.at(due, partial(self._fall_due, message))

    def _fall_due(self, message: Message) -> None:
        self._forget(message)
        self._fan_out(message)

    def _forget(self, message: Message) -> None:
        del self.messages[message.sequence]
        self._clock.cancel(self._alarms.pop(message.sequence))
        self._store.delete(self.name, message.sequence)

    def _fan_out(self, message: Message) -> None:
        for subscription in self.subscriptions.values():
            subscription.accept([message.copy()])
