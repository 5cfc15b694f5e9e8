"""A Dramatiq broker on Azure Service Bus.

Everything that speaks to Service Bus lives on one event loop, on a thread of its own (`servicebus_engine`);
Dramatiq's threads hand over and go on. Sends are coalesced and answered (`servicebus_outbox`), what comes is
received by credit and settled concurrently (`servicebus_intake`), its locks are renewed from receipt
(`servicebus_locks`), and every link that ends is opened anew.
"""

import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Final

from dramatiq import Message, Middleware
from dramatiq.errors import BrokerConnectionError, QueueJoinTimeout, QueueNotFound

from brokers.dead_letters import DeadLetter
from brokers.finishing import FinishingBroker
from brokers.messages import NotEnqueued, renewed
from brokers.servicebus_asking import Asking
from brokers.servicebus_consumer import ServiceBusConsumer, close_all
from brokers.servicebus_delivery import Delivery, Held, StopReceiving, WatchLocks
from brokers.servicebus_engine import Engine
from brokers.servicebus_faults import QueueMissing, report
from brokers.servicebus_intake import Intake
from brokers.servicebus_namespace import Namespace
from brokers.servicebus_outbox import Order
from brokers.servicebus_sending import Sending, not_sent
from brokers.servicebus_wire_sender import encode

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

#: How often `ServiceBusBroker.join` looks.
JOIN_SECONDS: Final = 0.02


class ServiceBusBroker(FinishingBroker):
    """A broker on the queues of a Service Bus namespace, which must exist.

    What a queue decides (how long a lock lasts, after how many deliveries a message is a dead letter, whether
    duplicates are detected) is configured there. Nothing is opened before the first use; a process that is
    forked opens its own connections.

    A retry is sent first and its original completed then, so a crash between the two runs it twice and loses
    nothing. Messages that are sent together are taken whole or not at all as long as they go to one queue and
    fit into one batch: 500 messages, and 128 KB, half of what the standard tier takes.

    Parameters:
      connection_string: As the portal shows it.
      namespace: Instead of it, the host name of the namespace.
      credential: With the host name: who asks, a ``TokenCredential`` of azure-core.
      middleware: As for any broker of Dramatiq.
      send_timeout_seconds: How long a sender waits while Service Bus cannot be reached or is busy.
      max_backoff_seconds: The longest wait between attempts to connect.
      shortest_lock_seconds: No lock lasts shorter, whatever the clock of this machine says: Service Bus
        allows no less than 5 s, an emulator may.
      crashpoint: Called with ``enqueue:before``, ``enqueue:after``, ``ack:before`` and ``ack:after`` around
        what Service Bus confirms, for tests that end the process there or raise.

    Raises:
      ValueError: An argument is wrong.
    """

    def __init__(
        self,
        connection_string: str | None = None,
        *,
        namespace: str | None = None,
        credential: "TokenCredential | None" = None,
        middleware: list[Middleware] | None = None,
        send_timeout_seconds: float = 30.0,
        max_backoff_seconds: float = 10.0,
        shortest_lock_seconds: float = 2.0,
        crashpoint: Callable[[str], None] | None = None,
    ) -> None:
        if min(send_timeout_seconds, max_backoff_seconds, shortest_lock_seconds) <= 0:
            raise ValueError(
                "send_timeout_seconds, max_backoff_seconds and shortest_lock_seconds must be positive"
            )
        super().__init__(middleware)
        self.add_middleware(WatchLocks())
        self.add_middleware(StopReceiving(self._stop_receiving))
        self._open_namespace: Callable[[], Namespace] = lambda: Namespace(
            connection_string, namespace, credential=credential
        )
        self._open_namespace()  # complains about what cannot be read, and connects to nothing
        self._send_timeout_seconds = send_timeout_seconds
        self._max_backoff_seconds = max_backoff_seconds
        self._shortest_lock_seconds = shortest_lock_seconds
        self._crash: Callable[[str], None] = crashpoint or _survive
        self._engine: Engine | None = None
        self._parents: list[Engine | None] = []
        self._opening = threading.Lock()
        self._consumers: list[ServiceBusConsumer] = []
        self._sending = Sending(self._started, send_timeout_seconds, self._crash)
        self._asking = Asking(self._started, send_timeout_seconds)
        forget = weakref.WeakMethod(self._forget_parent)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    #: Looking for dead letters is paid for, and takes a request for each queue.
    dead_letters_every_seconds = 10.0

    def declare_queue(self, queue_name: str) -> None:
        """Make a queue known; that it exists is the infrastructure's business."""
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues[queue_name] = None
            self.emit_after("declare_queue", queue_name)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 30000) -> ServiceBusConsumer:
        """Consume a queue.

        Parameters:
          queue_name: The queue.
          prefetch: How many messages to hold at most.
          timeout: How long the consumer waits for a message, in milliseconds.

        Raises:
          QueueNotFound: When the queue was not declared.
        """
        self._check(queue_name)
        engine = self._started()

        def open_intake(deliver: Callable[[Held], None]) -> Intake:
            return Intake(
                engine.loop,
                engine.namespace,
                queue_name,
                prefetch=max(1, prefetch),
                locks=engine.queue(queue_name).locks,
                max_backoff_seconds=self._max_backoff_seconds,
                deliver=deliver,
                settled=lambda: self._crash("ack:after"),
            )

        consumer = ServiceBusConsumer(
            engine.loop, queue_name, open_intake, timeout, self._crash, self._sending.hold
        )
        with self._opening:
            self._consumers = [other for other in self._consumers if not other.closed] + [consumer]
        return consumer

    def enqueue(self, message: "Message[Any]", *, delay: int | None = None) -> "Message[Any]":
        """Put a message on its queue; returns when Service Bus has it.

        Parameters:
          message: The message.
          delay: After how many milliseconds it becomes visible.

        Raises:
          QueueNotFound: When the queue was not declared.
          MessageTooLarge: Service Bus does not take a message of this size.
          BrokerConnectionError: It could not be sent in time, or it is not known whether it was.
        """
        try:
            return self.enqueue_many([(message, delay)])[0]
        except NotEnqueued as error:
            raise error.failed[0] from None

    def enqueue_many(self, messages: "Sequence[tuple[Message[Any], int | None]]") -> "list[Message[Any]]":
        """Put messages on their queues, in as few batches as possible.

        Parameters:
          messages: Each with its delay in milliseconds, or None.

        Raises:
          QueueNotFound: When a queue was not declared.
          NotEnqueued: It says which could not be sent in time, and why; the others were sent.
        """
        retried = [self._sending.retried(message) for message, _ in messages]
        try:
            for message, delay in messages:
                self._check(message.queue_name)
                self.emit_before("enqueue", message, delay)
            failed = self._sending.send(messages, retried)
        except BaseException:
            self._keep(retried)
            raise
        for number, (message, delay) in enumerate(messages):
            if number not in failed:
                self.emit_after("enqueue", message, delay)
        if failed:
            self._keep([retried[number] for number in failed])
            raise NotEnqueued(failed)
        return [message for message, _ in messages]

    def _keep(self, retried: Sequence[Held | None]) -> None:
        finishing = self.finishing(Delivery)
        not_sent([*retried, finishing and finishing.held])

    def flush(self, queue_name: str) -> None:
        """Drop what waits on a queue, delayed messages included; what is held stays."""
        self._check(queue_name)
        self._settle_all()
        self._asking.ask(queue_name, lambda parts: parts.browser.flush())

    def flush_all(self) -> None:
        """Drop what waits on all declared queues, and their dead letters."""
        for queue_name in self.get_declared_queues():
            self.flush(queue_name)
            self._asking.ask(queue_name, lambda parts: parts.browser.flush(dead_letters=True))

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
        while self._is_busy(queue_name):
            if time.monotonic() > deadline:
                raise QueueJoinTimeout(f"queue {queue_name!r} is not empty after {timeout} ms")
            time.sleep(JOIN_SECONDS)

    def _is_busy(self, queue_name: str) -> bool:
        try:
            return not self._is_empty(queue_name)
        except QueueMissing:
            raise
        except BrokerConnectionError as error:
            report(error, queue_name, "join")
            return True

    def close(self) -> None:
        """Give back what was not started, and disconnect. Using the broker again connects again.

        This has a bound whatever the network does: what is not confirmed by then is delivered again.
        """
        consumers, self._consumers = self._consumers, []
        with self._opening:
            engine, self._engine = self._engine, None
        if engine is not None:
            close_all(engine.loop, consumers)
            engine.close()

    def qsize(self, queue_name: str) -> int:
        """How many messages a queue has: waiting, delayed and held. Each 250 of them cost an operation.

        Raises:
          QueueNotFound: When the queue was not declared.
        """
        self._check(queue_name)
        self._settle_all()
        return self._asking.ask(queue_name, lambda parts: parts.browser.count())

    def _is_empty(self, queue_name: str) -> bool:
        self._check(queue_name)
        self._settle_all()
        return self._asking.ask(queue_name, lambda parts: parts.browser.count(most=1)) == 0

    def oldest_message_age_seconds(self, queue_name: str | None = None) -> float | None:
        """For how long the oldest message that waits or is held has been due, as of some seconds ago.

        Whether a message is held cannot be seen: one that is worked on counts as one that waits.

        Parameters:
          queue_name: One queue, or None for all that are declared.

        Returns:
          Seconds, or None when no message is due.
        """
        names = list(self.queues) if queue_name is None else [queue_name]
        due = [self._asking.ask(name, lambda parts: parts.browser.oldest_due()) for name in names]
        oldest = min((since for since in due if since is not None), default=None)
        return None if oldest is None else max(0.0, (datetime.now(UTC) - oldest).total_seconds())

    def check(self, queue_name: str) -> None:
        """Ask a queue something that costs little.

        Raises:
          BrokerConnectionError: It does not answer.
        """
        self._check(queue_name)
        self._asking.ask(queue_name, lambda parts: parts.browser.check())

    def dead_letters(self, queue_name: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The oldest dead letters of one queue, or of all."""
        self._settle_all()
        names = list(self.queues) if queue_name is None else [queue_name]
        letters: list[DeadLetter] = []
        for name in names:
            if len(letters) < limit:
                room = limit - len(letters)
                letters += self._asking.ask(name, lambda parts, room=room: parts.browser.dead_letters(room))
        return letters

    def discard_dead_letter(self, dead_letter_id: str) -> bool:
        """Remove a dead letter; False when there is none."""
        return self._asking.take(dead_letter_id, lambda _name, _body: None)

    def replay_dead_letter(self, dead_letter_id: str) -> bool:
        """Put a dead letter back on its queue, with all its retries before it; False when there is none.

        It is sent before it is removed: a crash between the two leaves both.
        """

        def send(queue_name: str, body: bytes) -> Order:
            deadline = time.monotonic() + self._send_timeout_seconds
            return Order([encode(renewed(body, queue_name), token_hex(16), None)], deadline)

        return self._asking.take(dead_letter_id, send)

    def _settle_all(self) -> None:
        """Wait for what this process has settled, so that what is read next includes it."""
        for consumer in list(self._consumers):
            consumer.flush()

    def _stop_receiving(self) -> None:
        """A worker of this process drains: what comes now would only be given back."""
        for consumer in list(self._consumers):
            consumer.stop()

    def _started(self) -> Engine:
        with self._opening:
            if self._engine is None:
                self._engine = Engine(
                    self._open_namespace(), self._max_backoff_seconds, self._shortest_lock_seconds
                )
            return self._engine

    def _forget_parent(self) -> None:
        """After a fork: what the parent holds is not ours to renew, to settle or to close."""
        self._opening = threading.Lock()
        self._parents.append(self._engine)  # not to be collected: that would close what both of us share
        self._engine = None
        self._consumers = []
        self._sending = Sending(self._started, self._send_timeout_seconds, self._crash)

    def _check(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            raise QueueNotFound(queue_name)


def _survive(_point: str) -> None:
    """Nothing happens at a crash point unless a test says so."""
