"""A Dramatiq broker on one SQLite file, for many processes and threads of one machine.

Nothing polls: senders wake consumers, and consumers sleep until the next message is due. A message that is
claimed is leased, and the lease is renewed for as long as the process lives; so the death of a worker costs
one lease, and never a message. See `brokers.sqlite_statements` for what a message goes through.
"""

import contextlib
import sqlite3
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from dramatiq import Message, Middleware
from dramatiq.errors import QueueJoinTimeout, QueueNotFound

from brokers import sqlite_statements as statements
from brokers.dead_letters import DeadLetter
from brokers.finishing import FinishingBroker
from brokers.group_commit import GroupCommit
from brokers.leases import Delivery, LeaseKeeper, State
from brokers.messages import renewed
from brokers.sqlite_consumer import RECHECK_SECONDS, Queue, SqliteConsumer
from brokers.sqlite_file import SqliteFile
from brokers.sqlite_statements import Entry, now_ms
from brokers.wakeup import Sleeper, Wakeup


class SqliteBroker(FinishingBroker):
    """A broker that keeps its queues in an SQLite file.

    Nothing is opened before the first use, and a fork is safe at any time. When the file is removed while
    processes run, they create it anew and carry on.

    Parameters:
      path: The file. Beside it appear ``-wal`` and ``-shm`` (SQLite's own), ``.lock`` and ``.wake``. It must
        be on a local file system.
      middleware: As for any broker of Dramatiq.
      synchronous: ``NORMAL`` survives the death of any process, ``FULL`` also that of the machine.
      lease_seconds: How long after the death of its worker a message is delivered again.
      max_deliveries: How often a message is delivered without being settled before it becomes a dead letter.
        A retry starts the count again.
      busy_timeout_seconds: How long to wait while a foreign program has locked the file.
      crashpoint: Called with ``enqueue:before``, ``enqueue:after``, ``ack:before`` and ``ack:after`` around
        the commits, for tests that end the process there or raise.

    Raises:
      ValueError: When an argument is out of range.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        middleware: list[Middleware] | None = None,
        synchronous: str = "NORMAL",
        lease_seconds: float = 60.0,
        max_deliveries: int = 10,
        busy_timeout_seconds: float = 5.0,
        crashpoint: Callable[[str], None] | None = None,
    ) -> None:
        if lease_seconds <= 0 or max_deliveries < 1:
            raise ValueError("lease_seconds must be positive and max_deliveries at least 1")
        super().__init__(middleware)
        path = Path(path).absolute()
        file = SqliteFile(
            path,
            statements.SCHEMA,
            version=statements.VERSION,
            synchronous=synchronous,
            busy_timeout_seconds=busy_timeout_seconds,
        )
        self._commits = GroupCommit(file)
        self._commits.on_forked = self._forget_parent
        self._wakeup = Wakeup(path.with_name(path.name + ".wake"))
        self._lease_seconds = lease_seconds
        self._max_deliveries = max_deliveries
        self._crash: Callable[[str], None] = crashpoint or _survive
        self._keeper = LeaseKeeper(self._commits, lease_seconds)
        self._consumers: list[SqliteConsumer] = []
        self._held: weakref.WeakValueDictionary[str, Delivery] = weakref.WeakValueDictionary()

    #: Looking for dead letters costs next to nothing.
    dead_letters_every_seconds = 1.0

    def declare_queue(self, queue_name: str) -> None:
        """Declare a queue; declaring it again does nothing."""
        if queue_name in self.queues:
            return
        self.emit_before("declare_queue", queue_name)
        self.queues[queue_name] = Queue(
            queue_name,
            self._commits,
            self._wakeup,
            int(self._lease_seconds * 1000),
            self._max_deliveries,
            self._crash,
            self._hold,
            deque(),
        )
        self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> SqliteConsumer:
        """Consume a queue.

        Parameters:
          queue_name: The queue.
          prefetch: How many messages to hold at most.
          timeout: How long the consumer waits for a message, in milliseconds.

        Raises:
          QueueNotFound: When the queue was not declared.
        """
        consumer = SqliteConsumer(self._queue(queue_name), self._keeper, prefetch, timeout)
        for closed in [other for other in self._consumers if other.closed]:
            with contextlib.suppress(ValueError):  # another thread was faster
                self._consumers.remove(closed)
        self._consumers.append(consumer)
        return consumer

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Put a message on its queue; one that is held, as Retries does it, replaces itself.

        Parameters:
          message: The message.
          delay: After how many milliseconds it becomes visible.

        Raises:
          QueueNotFound: When the queue was not declared.
          BrokerConnectionError: When the file cannot be written; nothing was enqueued.
        """
        return self.enqueue_many([(message, delay)])[0]

    def enqueue_many(self, messages: "Sequence[tuple[Message[Any], int | None]]") -> "list[Message[Any]]":
        """Put messages on their queues, all or none of them.

        Parameters:
          messages: Each with its delay in milliseconds, or None.

        Raises:
          QueueNotFound: When a queue was not declared.
          BrokerConnectionError: When the file cannot be written; nothing was enqueued.
        """
        retried = [self._retried(message) for message, _ in messages]
        try:
            for message, delay in messages:
                self._queue(message.queue_name)
                self.emit_before("enqueue", message, delay)
            self._put(messages, retried)
        except BaseException:
            # Dramatiq acknowledges a message whose retry or next step could not be sent: the acknowledgement
            # must know.
            for delivery in [*retried, self.finishing(Delivery)]:
                if delivery is not None and delivery.state in {State.HELD, State.MOVING}:
                    delivery.state = State.RETRY_FAILED
            raise
        for message, delay in messages:
            self.emit_after("enqueue", message, delay)
        return [message for message, _ in messages]

    def _put(
        self, messages: "Sequence[tuple[Message[Any], int | None]]", retried: list[Delivery | None]
    ) -> None:
        now = now_ms()
        entries: list[Entry] = []
        moving: dict[int, Delivery] = {}
        for (message, delay), delivery in zip(messages, retried, strict=True):
            entry = Entry(message.queue_name, message.encode(), now + max(0, int(delay or 0)))
            if delivery is not None and id(delivery) not in moving:  # a second retry is a message of its own
                entry = entry._replace(held=delivery.lease, generation=delivery.generation)
                moving[id(delivery)] = delivery
            entries.append(entry)
        self._crash("enqueue:before")
        for delivery in moving.values():
            delivery.state = State.MOVING  # not a loss in the eyes of the lease keeper
        dropped = self._commits.run(lambda c: statements.put(c, entries, self._commits.generation))
        for delivery in moving.values():
            delivery.state = State.MOVED
        self._crash("enqueue:after")
        for entry in dropped:
            self.logger.warning("A retry on %s was dropped: its message is held elsewhere.", entry.queue_name)
        self._announce(entries, now)

    def _announce(self, entries: Iterable[Entry], now: int) -> None:
        for queue_name, due_at in {(entry.queue_name, entry.due_at) for entry in entries}:
            # What is due later is found in time by those who look for themselves until then. What is due
            # soon must be known to all sleepers, as the one that we would pick may be busy by then.
            if due_at <= now + RECHECK_SECONDS * 1000:
                self._wakeup.wake(queue_name, everyone=due_at > now)

    def _retried(self, message: Any) -> Delivery | None:
        """The delivery that a message is the retry of, if we hold it still.

        That is the delivery itself (Retries sends it) or a copy with the same identity and arguments.
        """
        if isinstance(message, Delivery):
            delivery = message
        else:
            delivery = self._held.get(message.message_id)
            if delivery is None or message.args is not delivery.args or message.kwargs is not delivery.kwargs:
                return None
        return None if delivery.state in {State.MOVED, State.SETTLED} else delivery

    def _hold(self, delivery: Delivery) -> None:
        self._held[delivery.message_id] = delivery

    def flush(self, queue_name: str) -> None:
        """Drop all messages of a queue, those that are held included."""
        self._queue(queue_name)
        self._commits.run(lambda connection: statements.flush(connection, queue_name))
        self._wakeup.wake(self._queue(queue_name).joining, everyone=True)

    def flush_all(self) -> None:
        """Drop all messages and dead letters of all declared queues."""
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)
            self._commits.run(partial(statements.clear_dead_letters, queue_name=queue_name))

    def join(self, queue_name: str, *, timeout: int | None = None) -> None:
        """Wait until a queue is empty: nothing waiting, delayed or held. For tests.

        Parameters:
          queue_name: The queue.
          timeout: How long to wait at most, in milliseconds.

        Raises:
          QueueNotFound: When the queue was not declared.
          QueueJoinTimeout: When it was not empty in time.
        """
        deadline = time.monotonic() + (timeout / 1000 if timeout is not None else float("inf"))
        with contextlib.closing(Sleeper(self._wakeup, self._queue(queue_name).joining)) as sleeper:
            while True:
                sleeper.announce()
                if self.qsize(queue_name) == 0:
                    return
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    raise QueueJoinTimeout(f"queue {queue_name!r} is not empty after {timeout} ms")
                sleeper.sleep(min(remaining, RECHECK_SECONDS))

    def close(self) -> None:
        """Close the file. Using the broker again opens it again."""
        self._settle_all()
        self._keeper.close()
        self._commits.close()

    def qsize(self, queue_name: str) -> int:
        """How many messages a queue has: waiting, delayed and held.

        Raises:
          QueueNotFound: When the queue was not declared.
        """
        self._queue(queue_name)
        self._settle_all()
        return self._commits.run(lambda connection: statements.count(connection, queue_name))

    def oldest_message_age_seconds(self, queue_name: str | None = None) -> float | None:
        """For how long the oldest message that waits has been due; one that a consumer holds does not wait.

        Parameters:
          queue_name: One queue, or None for all that are declared.

        Returns:
          Seconds, or None when no message waits that is due.
        """
        self._settle_all()
        names = list(self.queues) if queue_name is None else [queue_name]
        oldest = self._commits.run(lambda c: [statements.oldest_due_at(c, name) for name in names])
        due = [due_at for due_at in oldest if due_at is not None]
        return max(0.0, (now_ms() - min(due)) / 1000) if due else None

    def check(self, queue_name: str) -> None:
        """Ask a queue something that costs little.

        Raises:
          BrokerConnectionError: The file cannot be read.
        """
        self._queue(queue_name)
        self._commits.run(lambda connection: statements.oldest_due_at(connection, queue_name))

    def dead_letters(self, queue_name: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of one queue, or of all."""
        self._settle_all()
        rows = self._commits.run(
            lambda connection: statements.list_dead_letters(connection, queue_name, limit)
        )
        return [
            DeadLetter(str(row[0]), *row[1:6], datetime.fromtimestamp(row[6] / 1000, UTC)) for row in rows
        ]

    def discard_dead_letter(self, dead_letter_id: str) -> bool:
        """Remove a dead letter; False when there is none."""
        taken = self._commits.run(
            partial(statements.take_dead_letter, dead_letter_id=_number(dead_letter_id))
        )
        return taken is not None

    def replay_dead_letter(self, dead_letter_id: str) -> bool:
        """Put a dead letter back on its queue, with all its retries before it; False when there is none."""
        queue_name = self._commits.run(partial(_replay, dead_letter_id=_number(dead_letter_id)))
        if queue_name is not None:
            self._wakeup.wake(queue_name)
        return queue_name is not None

    def _settle_all(self) -> None:
        """Write what consumers of this process have settled, so that what is read next includes it."""
        for consumer in list(self._consumers):
            consumer.settle()

    def _forget_parent(self) -> None:
        """After a fork: what the parent holds is not ours to renew or to settle."""
        self._keeper = LeaseKeeper(self._commits, self._lease_seconds)
        self._consumers = []
        self._held = weakref.WeakValueDictionary()
        for queue in self.queues.values():
            queue.unsettled.clear()

    def _queue(self, queue_name: str) -> Queue:
        queue = self.queues.get(queue_name)
        if queue is None:
            raise QueueNotFound(queue_name)
        return queue


def _replay(connection: sqlite3.Connection, dead_letter_id: int) -> str | None:
    dead = statements.take_dead_letter(connection, dead_letter_id)
    if dead is None:
        return None
    queue_name, body = dead
    statements.put(connection, [Entry(queue_name, renewed(body, queue_name), now_ms())], generation=0)
    return queue_name


def _number(dead_letter_id: str) -> int:
    """Read a dead letter's name; what is not one names none."""
    return int(dead_letter_id) if dead_letter_id.isdecimal() and len(dead_letter_id) < 19 else -1


def _survive(_point: str) -> None:
    """Nothing happens at a crash point unless a test says so."""
