"""What one worker process does with one queue of the SQLite broker: claim, hand out, settle."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from secrets import randbits
from typing import cast

from dramatiq import Consumer, MessageProxy
from dramatiq.errors import DecodeError

from brokers import sqlite_statements as statements
from brokers.group_commit import GroupCommit
from brokers.leases import Delivery, LeaseKeeper, State
from brokers.messages import decode, why_rejected, why_undecodable
from brokers.sqlite_statements import Claim, Claimed, Ending, Grave, Settlement, Terms, now_ms
from brokers.wakeup import Sleeper, Wakeup

#: Sleepers look for themselves this often, in case that whoever should have woken them died.
RECHECK_SECONDS = 1.0

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue, as its consumers in this process share it."""

    name: str
    commits: GroupCommit
    wakeup: Wakeup
    lease_ms: int
    max_deliveries: int
    #: Called at the points named in `SqliteBroker`.
    crash: Callable[[str], None]
    #: Called with each delivery that this process holds from now on.
    on_hold: Callable[[Delivery], None]
    #: What could not be written when its consumer closed; the next consumer writes it.
    unsettled: deque[Settlement]

    @property
    def joining(self) -> str:
        """The topic of those who wait for the queue to be empty."""
        return f"join {self.name}"


class SqliteConsumer(Consumer):
    """Messages of one queue. Settling is safe from any thread.

    What is settled is written together with the next claim, which follows at once: a worker that settles
    wakes its consumer. A crash in between means one more delivery.

    Parameters:
      queue: The queue.
      keeper: Keeps the leases of what is held.
      prefetch: How many messages to hold at most.
      timeout_ms: How long to wait for a message.
    """

    def __init__(self, queue: Queue, keeper: LeaseKeeper, prefetch: int, timeout_ms: int) -> None:
        self._queue = queue
        self._keeper = keeper
        self._prefetch = max(1, prefetch)
        self._timeout_seconds = timeout_ms / 1000
        self._ready: deque[Delivery] = deque()
        self._settlements: deque[Settlement] = deque()
        self._lock = threading.Lock()
        self._idle = False
        self._sleeper = Sleeper(queue.wakeup, queue.name)
        self._holder = keeper.open()
        self.closed = False

    def __next__(self) -> MessageProxy | None:
        """Wait for the next message; None when there is none in time."""
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            with self._lock:
                wait_seconds = 0.0 if self._ready or self.closed else self._refill()
                if self._ready:
                    return self._ready.popleft()
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self.closed:
                return None
            if not self._settlements:  # whoever settles from now on finds us idle, and wakes us
                self._sleeper.sleep(min(remaining, wait_seconds))
            self._idle = False

    def ack(self, message: MessageProxy) -> None:
        """Complete a message. One whose retry could not be sent becomes visible again instead."""
        delivery = cast("Delivery", message)
        self._queue.crash("ack:before")
        if delivery.state is State.MOVED:
            self._free(delivery)
            self._queue.crash("ack:after")
            return
        # An interrupted retry may have been written; then its row has no such token, and this does nothing.
        failed = delivery.state in {State.RETRY_FAILED, State.MOVING}
        ending = Ending.RELEASE if failed else Ending.COMPLETE
        self._settle(delivery, Settlement(delivery.lease, ending, delivery.message_id))

    def nack(self, message: MessageProxy) -> None:
        """Make a dead letter of a message."""
        delivery = cast("Delivery", message)
        grave = Grave(
            self._queue.name,
            _body(delivery),
            "rejected",
            why_rejected(delivery, delivery.exception),
            delivery.deliveries,
        )
        detached = delivery.state is State.MOVED or delivery.generation != self._queue.commits.generation
        settlement = Settlement(delivery.lease, Ending.COMPLETE, delivery.message_id, grave, detached)
        self._settle(delivery, settlement)

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back that were not handed to an actor."""
        gone = {State.MOVED, State.SETTLED}
        deliveries = [m for m in cast("Iterable[Delivery]", messages) if m.state not in gone]
        if deliveries:
            self._write([Settlement(d.lease, Ending.RETURN, d.message_id) for d in deliveries])
            for delivery in deliveries:
                delivery.state = State.SETTLED
                self._free(delivery)
            self._queue.wakeup.wake(self._queue.name, everyone=True)

    def settle(self) -> None:
        """Write what is settled, without claiming more."""
        with self._lock:
            settlements = list(self._settlements)
            if settlements:
                self._write(settlements)
                self._written(settlements)

    def close(self) -> None:
        """Settle what is done, and give back what was not delivered yet."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._settlements.extend(Settlement(d.lease, Ending.RETURN, d.message_id) for d in self._ready)
            self._ready.clear()
        try:
            self.settle()
        finally:
            with self._lock:
                while self._settlements:
                    self._queue.unsettled.append(self._settlements.popleft())
            self._sleeper.close()
            self._queue.wakeup.wake(self._queue.name, everyone=True)
            self._queue.wakeup.wake(self._queue.joining, everyone=True)

    def _refill(self) -> float:
        """Settle and claim, and return for how many seconds there will be nothing to do."""
        # First of all: whoever frees a place after we have counted them must find us idle.
        self._idle = True
        while self._queue.unsettled:
            self._settlements.append(self._queue.unsettled.popleft())
        settlements = list(self._settlements)
        room = self._prefetch - len(self._holder)
        if room <= 0 and not settlements:
            return RECHECK_SECONDS
        if room > 0:
            self._sleeper.announce()
        terms = self._terms(room)
        commits = self._queue.commits
        claim, generation = commits.run(
            lambda connection: (statements.claim(connection, settlements, terms), commits.generation)
        )
        if claim.messages:
            self._sleeper.withdraw()
        self._take(claim, generation)
        self._written(settlements)
        self._report_lost(claim.lost)
        return self._pass_on(claim, room)

    def _pass_on(self, claim: Claim, room: int) -> float:
        if claim.messages:
            if not claim.exhausted:
                self._queue.wakeup.wake(self._queue.name)  # more is due than we may hold
            return 0.0
        if claim.next_at is None:
            self._queue.wakeup.wake(self._queue.joining, everyone=True)
        if claim.next_at is None or room <= 0:
            return RECHECK_SECONDS
        return min(RECHECK_SECONDS, max(0.0, (claim.next_at - now_ms()) / 1000))

    def _terms(self, room: int) -> Terms:
        queue = self._queue
        return Terms(
            queue.name, room, 1 + randbits(62), queue.lease_ms, queue.max_deliveries, self._holds_no_suspect
        )

    def _holds_no_suspect(self) -> bool:
        most = self._queue.max_deliveries
        return not any(statements.is_suspect(d.deliveries - 1, most) for d in self._holder.snapshot())

    def _take(self, claim: Claim, generation: int) -> None:
        leased_until = now_ms() + self._queue.lease_ms
        for claimed in claim.messages:
            try:
                message = decode(claimed.body, self._queue.name)
            except DecodeError as error:
                self._bury_undecodable(claimed, error)
                continue
            delivery = Delivery(message, claimed, generation, leased_until)
            self._holder.add(delivery)
            self._queue.on_hold(delivery)
            self._ready.append(delivery)

    def _bury_undecodable(self, claimed: Claimed, error: DecodeError) -> None:
        text = why_undecodable(error)
        _logger.error("A message on %s cannot be decoded: %s", self._queue.name, text)
        grave = Grave(self._queue.name, claimed.body, "undecodable", text, claimed.deliveries)
        self._settlements.append(Settlement(claimed.lease, Ending.COMPLETE, grave=grave))

    def _settle(self, delivery: Delivery, settlement: Settlement) -> None:
        if delivery.state is not State.SETTLED:  # Dramatiq tries again when settling raised
            delivery.state = State.SETTLED
            self._settlements.append(settlement)
            self._free(delivery)
        if self.closed:  # nobody claims here any more
            self.settle()

    def _free(self, delivery: Delivery) -> None:
        if delivery.holder is not None:
            delivery.holder.drop(delivery)
        if self._idle:
            self._idle = False
            self._sleeper.nudge()

    def _write(self, settlements: list[Settlement]) -> None:
        lost = self._queue.commits.run(lambda connection: statements.settle(connection, settlements))
        self._report_lost(lost)

    def _written(self, settlements: list[Settlement]) -> None:
        for _ in settlements:
            self._settlements.popleft()
        if any(s.grave is None and s.ending is not Ending.RETURN for s in settlements):
            self._queue.crash("ack:after")

    def _report_lost(self, lost: Iterable[Settlement]) -> None:
        for settlement in lost:
            _logger.warning(
                "Message %s was settled after its lease was lost, to no effect: another worker holds it, or "
                "its queue was emptied.",
                settlement.message_id,
            )


def _body(delivery: Delivery) -> bytes:
    try:
        return delivery.encode()
    except Exception:  # noqa: BLE001 - encoders are the program's own, and a dead letter is better than none
        return repr(delivery.asdict()).encode()
