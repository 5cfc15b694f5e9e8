"""A queue, a subscription, or the dead-letter queue of either."""

import heapq
import os
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Protocol

from ops.emulators.servicebus.entities.clock import Alarm, Clock
from ops.emulators.servicebus.entities.duplicates import Duplicates
from ops.emulators.servicebus.entities.errors import EntityError, lock_lost, message_not_found
from ops.emulators.servicebus.entities.message import Message, State
from ops.emulators.servicebus.entities.properties import EntityProperties
from ops.emulators.servicebus.entities.store import Store

DEAD_LETTER_SUFFIX = "/$DeadLetterQueue"
EXPIRED = ("TTLExpiredException", "The message expired and was dead lettered.")
TOO_OFTEN = "MaxDeliveryCountExceeded"


class Consumer(Protocol):
    """Someone who takes messages while it can."""

    #: Whether what it takes is deleted instead of locked.
    deletes: bool

    @property
    def can_take(self) -> bool:
        """Whether it can take another message now."""
        ...

    def take(self, message: Message) -> None:
        """Take a message."""
        ...


class Queue:
    """Holds messages in order, each for one consumer at a time.

    Parameters:
      name: Its path.
      properties: How it behaves.
      clock: What wakes it.
      store: Where its messages are kept.
      dead_letters: Where its dead letters go; None: it is a dead-letter queue itself.
    """

    def __init__(
        self,
        name: str,
        properties: EntityProperties,
        *,
        clock: Clock,
        store: Store,
        dead_letters: "Queue | None",
    ) -> None:
        self.name = name
        self.properties = properties
        self.dead_letters = dead_letters
        self.messages: dict[int, Message] = {}
        self.duplicates = Duplicates(name, store, clock)
        self.was_received_from = False
        self._clock = clock
        self._store = store
        self.last_sequence = 0
        self._fresh: deque[Message] = deque()
        self._returned: list[tuple[int, Message]] = []
        self._locks: dict[bytes, tuple[Message, Alarm]] = {}
        self._alarms: dict[int, Alarm] = {}  # of scheduled messages and of those that expire
        self._consumers: deque[Consumer] = deque()
        self._waiting: set[Consumer] = set()

    @property
    def locked_count(self) -> int:
        """How many messages are locked."""
        return len(self._locks)

    def accept(self, messages: Iterable[Message]) -> list[int]:
        """Take new messages, all or none.

        Parameters:
          messages: The messages; those with a `scheduled_at` in the future wait for it.

        Returns:
          Their sequence numbers. A duplicate is dropped, and has the number 0.
        """
        numbers = [self._enqueue(message) for message in messages]
        self.pump()
        return numbers

    def restore(self, message: Message) -> None:
        """Put back a message that the store has kept."""
        self.last_sequence = max(self.last_sequence, message.sequence)
        self.messages[message.sequence] = message
        if message.state is State.SCHEDULED:
            self._wait_for_schedule(message)
            return
        self._watch_expiry(message)
        if message.state is State.ACTIVE:
            self._fresh.append(message)

    def cancel_scheduled(self, sequences: list[int]) -> None:
        """Drop scheduled messages, all or none.

        Raises:
          EntityError: One is not, or no longer, scheduled.
        """
        found = [self._in_state(sequence, State.SCHEDULED) for sequence in sequences]
        for message in found:
            self._remove(message)

    def peek(self, sequence: int, count: int) -> list[Message]:
        """Give messages of any state from a sequence number on, without locking them."""
        numbers = sorted(number for number in self.messages if number >= sequence)
        return [self.messages[number] for number in numbers[:count]]

    def receive_deferred(self, sequences: list[int], *, deletes: bool) -> list[Message]:
        """Lock, or delete, deferred messages; all or none.

        Raises:
          EntityError: One is not deferred, or is locked.
        """
        found = [self._in_state(sequence, State.DEFERRED) for sequence in sequences]
        for message in found:
            if message.lock is not None:
                raise message_not_found(message.sequence)
        for message in found:
            if deletes:
                self._remove(message)
            else:
                self._lock(message)
        return found

    def complete(self, token: bytes) -> None:
        """Delete a locked message.

        Raises:
          EntityError: The lock is lost; so say all the other ways to settle.
        """
        self._remove(self._unlock(token))

    def release(self, token: bytes) -> None:
        """Return a locked message as if it had not been delivered."""
        self._return(self._unlock(token), has_failed=False)

    def abandon(
        self, token: bytes, changes: dict[str, object] | None = None, *, has_failed: bool = True
    ) -> None:
        """Return a locked message, with changes to its application properties."""
        message = self._unlock(token)
        if changes:
            message.set_properties(changes)
        self._return(message, has_failed=has_failed, is_changed=bool(changes))

    def defer(self, token: bytes, changes: dict[str, object] | None = None) -> None:
        """Put a locked message aside; only its sequence number gives it back."""
        message = self._unlock(token)
        if changes:
            message.set_properties(changes)
        message.state = State.DEFERRED
        message.delivery_count += 1
        self._store.put(self.name, message)

    def dead_letter(
        self,
        token: bytes,
        reason: str | None,
        description: str | None,
        changes: dict[str, object] | None = None,
    ) -> None:
        """Move a locked message to the dead-letter queue."""
        if self.dead_letters is None:
            raise EntityError("amqp:not-allowed", "A dead letter cannot be dead-lettered again.", 400)
        message = self._unlock(token)
        if changes:
            message.set_properties(changes)
        self._bury(message, reason, description)

    def renew(self, token: bytes) -> float:
        """Lock a message for its whole lock duration again.

        Returns:
          When the lock will expire, in seconds since the epoch.
        """
        message = self._locked(token)
        self._clock.cancel(self._locks[token][1])
        self._hold(message, token)
        return message.locked_until

    def is_locked(self, token: bytes) -> bool:
        """Whether a lock is held."""
        entry = self._locks.get(token)
        return entry is not None and entry[0].locked_until > self._clock.now()

    def lose_locks(self) -> int:
        """Let every lock expire now.

        Returns:
          How many there were.
        """
        tokens = list(self._locks)
        for token in tokens:
            self._expire_lock(token)
        return len(tokens)

    def lose_lock(self, token: bytes) -> None:
        """Let one lock expire now, if it is held."""
        if token in self._locks:
            self._expire_lock(token)

    def clear(self) -> None:
        """Drop every message."""
        for message in tuple(self.messages.values()):
            if message.lock is not None:
                self._unlock(message.lock)
            self._remove(message)

    def serve(self, consumer: Consumer) -> None:
        """Give a consumer messages as long as it can take them."""
        self.was_received_from = True
        if consumer not in self._waiting:
            self._waiting.add(consumer)
            self._consumers.append(consumer)
        self.pump()

    def leave(self, consumer: Consumer) -> None:
        """Give a consumer nothing any more."""
        if consumer in self._waiting:
            self._waiting.discard(consumer)
            self._consumers.remove(consumer)

    def pump(self) -> None:
        """Deliver, to one consumer after the other."""
        consumers = self._consumers
        while consumers and (self._fresh or self._returned):
            consumer = consumers[0]
            if not consumer.can_take:
                consumers.popleft()
                self._waiting.discard(consumer)
                continue
            message = self._next()
            if message is None:
                return
            consumers.rotate(-1)
            if consumer.deletes:
                self._remove(message)
            else:
                self._lock(message)
            consumer.take(message)

    def _enqueue(self, message: Message) -> int:
        now = self._clock.now()
        window = self.properties.duplicate_window
        if window is not None and self.duplicates.is_duplicate(message.message_id(), window):
            return 0
        self._number(message)
        if message.scheduled_at is not None and message.scheduled_at > now:
            message.state = State.SCHEDULED
            self._wait_for_schedule(message)
        else:
            self._activate(message, now)
        self._store.put(self.name, message)
        return message.sequence

    def _number(self, message: Message) -> None:
        self.last_sequence += 1
        message.sequence = self.last_sequence
        self.messages[message.sequence] = message

    def _activate(self, message: Message, now: float) -> None:
        message.state = State.ACTIVE
        message.enqueued_at = now
        if self.dead_letters is not None:  # dead letters do not expire
            longest = self.properties.time_to_live
            if longest is not None and (message.ttl_ms is None or message.ttl_ms > longest * 1000):
                message.ttl_ms = int(longest * 1000)
            message.expires_at = None if message.ttl_ms is None else now + message.ttl_ms / 1000
            self._watch_expiry(message)
        self._fresh.append(message)

    def _wait_for_schedule(self, message: Message) -> None:
        due = message.scheduled_at or 0.0
        self._alarms[message.sequence] = self._clock.at(due, partial(self._fall_due, message))

    def _fall_due(self, message: Message) -> None:
        """Enqueue a scheduled message now, which gives it a new sequence number."""
        self._forget(message)
        self._number(message)
        self._activate(message, self._clock.now())
        self._store.put(self.name, message)
        self.pump()

    def _watch_expiry(self, message: Message) -> None:
        if message.expires_at is not None:
            alarm = self._clock.at(message.expires_at, partial(self._expire, message))
            self._alarms[message.sequence] = alarm

    def _expire(self, message: Message) -> None:
        self._alarms.pop(message.sequence, None)
        if message.lock is not None:  # looked at again when it comes back
            return
        if self.properties.dead_letters_expired:
            self._bury(message, *EXPIRED)
        else:
            self._remove(message)

    def _next(self) -> Message | None:
        """Take the active message with the lowest sequence number."""
        fresh, returned = self._fresh, self._returned
        while fresh or returned:
            if returned and (not fresh or returned[0][0] < fresh[0].sequence):
                message = heapq.heappop(returned)[1]
            else:
                message = fresh.popleft()
            if not message.is_gone:
                return message
        return None

    def _lock(self, message: Message) -> None:
        token = os.urandom(16)
        message.lock = token
        self._hold(message, token)

    def _hold(self, message: Message, token: bytes) -> None:
        message.locked_until = self._clock.now() + self.properties.lock_duration
        alarm = self._clock.at(message.locked_until, partial(self._expire_lock, token))
        self._locks[token] = (message, alarm)

    def _locked(self, token: bytes) -> Message:
        entry = self._locks.get(token)
        if entry is None:
            raise lock_lost()
        if entry[0].locked_until <= self._clock.now():
            self._expire_lock(token)
            raise lock_lost()
        return entry[0]

    def _unlock(self, token: bytes) -> Message:
        message = self._locked(token)
        self._clock.cancel(self._locks.pop(token)[1])
        message.lock = None
        return message

    def _expire_lock(self, token: bytes) -> None:
        message, alarm = self._locks.pop(token)
        self._clock.cancel(alarm)
        message.lock = None
        self._return(message, has_failed=True)

    def _return(self, message: Message, *, has_failed: bool, is_changed: bool = False) -> None:
        """Make a message available again, or bury it if it was delivered too often."""
        limit = self.properties.max_delivery_count
        if has_failed:
            message.delivery_count += 1
        if message.expires_at is not None and message.expires_at <= self._clock.now():
            self._expire(message)
        elif self.dead_letters is not None and message.delivery_count >= limit:
            self._bury(message, TOO_OFTEN, f"Message could not be consumed after {limit} delivery attempts.")
        else:
            if has_failed or is_changed:
                self._store.put(self.name, message)
            if message.state is State.ACTIVE:
                heapq.heappush(self._returned, (message.sequence, message))
                self.pump()

    def _bury(self, message: Message, reason: str | None, description: str | None) -> None:
        """Move a message to the dead-letter queue, as a new message there."""
        assert self.dead_letters is not None  # noqa: S101 -- dead letters neither expire nor die again
        letter = message.copy()
        self._remove(message)
        letter.source = self.name
        letter.expires_at = None
        letter.scheduled_at = None
        letter.delivery_count = message.delivery_count
        details = {"DeadLetterReason": reason, "DeadLetterErrorDescription": description}
        letter.set_properties({name: text for name, text in details.items() if text is not None})
        self.dead_letters.accept([letter])

    def _remove(self, message: Message) -> None:
        message.is_gone = True
        self._forget(message)

    def _forget(self, message: Message) -> None:
        del self.messages[message.sequence]
        alarm = self._alarms.pop(message.sequence, None)
        if alarm is not None:
            self._clock.cancel(alarm)
        self._store.delete(self.name, message.sequence)

    def _in_state(self, sequence: int, state: State) -> Message:
        message = self.messages.get(sequence)
        if message is None or message.state is not state:
            raise message_not_found(sequence)
        return message
