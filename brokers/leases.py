"""Messages that this process holds, and the thread that keeps their leases alive."""

import logging
import sqlite3
import threading
import weakref
from collections.abc import Callable
from enum import Enum
from typing import Any

from dramatiq import Message, MessageProxy
from dramatiq.errors import BrokerConnectionError

from brokers import sqlite_statements as statements
from brokers.group_commit import GroupCommit
from brokers.sqlite_statements import Claimed, Lease

#: The parts of a lease after which it is renewed: three chances before it ends.
RENEWALS_PER_LEASE = 4

_logger = logging.getLogger(__name__)


class State(Enum):
    """What has become of a delivery."""

    HELD = "held"
    #: A retry is being written into its row.
    MOVING = "moving"
    #: Its row is a message that waits for its retry; the acknowledgement has nothing left to do.
    MOVED = "moved"
    #: The retry could not be written; the acknowledgement must not complete the message.
    RETRY_FAILED = "retry failed"
    #: Somebody else holds it: nothing that is done with it has any effect.
    LOST = "lost"
    #: Acknowledged, rejected or given back.
    SETTLED = "settled"


class Delivery(MessageProxy):
    """A message that this process holds."""

    def __init__(self, message: "Message[Any]", claimed: Claimed, generation: int, leased_until: int) -> None:
        super().__init__(message)  # pyright: ignore[reportUnknownMemberType] - typed in part
        self.lease: Lease = claimed.lease
        self.deliveries = claimed.deliveries
        #: Which file the row is in; after that was replaced there is no row.
        self.generation = generation
        self.leased_until = leased_until
        self.state = State.HELD
        self.holder: Holder | None = None

    @property
    def exception(self) -> BaseException | None:
        """What the actor raised."""
        return self._exception


class Holder:
    """The deliveries of one consumer that are not settled yet.

    They are referred to weakly: one that nobody can settle any more is not kept from the other workers.
    """

    def __init__(self) -> None:
        self._deliveries: weakref.WeakValueDictionary[int, Delivery] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._deliveries)

    def add(self, delivery: Delivery) -> None:
        """Hold a delivery."""
        delivery.holder = self
        self._deliveries[id(delivery)] = delivery

    def drop(self, delivery: Delivery) -> None:
        """Hold it no longer."""
        self._deliveries.pop(id(delivery), None)

    def snapshot(self) -> list[Delivery]:
        """All deliveries; safe while other threads settle some."""
        # valuerefs copies in one step, whereas iterating fails when the dictionary changes meanwhile.
        return [delivery for ref in self._deliveries.valuerefs() if (delivery := ref()) is not None]


class LeaseKeeper:
    """Renews the leases of all holders of this process, from one thread, until it is closed.

    The deliveries of a consumer that was closed are renewed, too: after an error Dramatiq replaces a
    consumer, and a worker that pauses closes all of them, while actors still work on what they delivered.

    Parameters:
      commits: The queue file.
      lease_seconds: How long a lease lasts.
    """

    def __init__(self, commits: GroupCommit, lease_seconds: float) -> None:
        self._commits = commits
        self._lease_seconds = lease_seconds
        self._lock = threading.Lock()
        self._holders: list[weakref.ref[Holder]] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def open(self) -> Holder:
        """Begin to keep a consumer's leases."""
        holder = Holder()
        with self._lock:
            self._holders = [ref for ref in self._holders if ref() is not None] + [weakref.ref(holder)]
            if self._thread is None:
                self._stopped = threading.Event()
                self._thread = threading.Thread(
                    target=self._run, args=(self._stopped,), name="lease-keeper", daemon=True
                )
                self._thread.start()
        return holder

    def close(self) -> None:
        """Stop the thread; a consumer that is opened later starts it again."""
        with self._lock:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None:
            thread.join()

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.wait(self._lease_seconds / RENEWALS_PER_LEASE):
            try:
                self._renew()
            except BrokerConnectionError as error:
                _logger.warning("Leases were not renewed, trying again: %s", error)
            except Exception:
                _logger.exception("Leases were not renewed, trying again.")

    def _renew(self) -> None:
        lease_ms = int(self._lease_seconds * 1000)
        until = statements.now_ms() + lease_ms
        aged = until - lease_ms // RENEWALS_PER_LEASE // 2
        with self._lock:
            holders = [holder for ref in self._holders if (holder := ref()) is not None]
        aging = {
            delivery.lease: delivery
            for holder in holders
            for delivery in holder.snapshot()
            if delivery.state is State.HELD and delivery.leased_until <= aged
        }
        if not aging:
            return
        lost = self._commits.run(_renewal(list(aging), until))
        for lease in lost:
            delivery = aging.pop(lease)
            # Settled or moved while we renewed: that is no loss.
            if delivery.state is State.HELD:
                delivery.state = State.LOST
                _logger.warning("The lease on message %s was lost: it will run again.", delivery.message_id)
        for delivery in aging.values():
            delivery.leased_until = until


def _renewal(leases: list[Lease], until: int) -> "Callable[[sqlite3.Connection], list[Lease]]":
    return lambda connection: statements.renew(connection, leases, until)
