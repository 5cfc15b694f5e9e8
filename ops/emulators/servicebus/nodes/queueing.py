"""Entities as the ends of links: send to them, receive from them."""

from functools import partial
from typing import cast

from ops.emulators.servicebus.codec.frames import AmqpError
from ops.emulators.servicebus.codec.outcomes import ACCEPTED_STATE, rejected
from ops.emulators.servicebus.codec.values import DecodeError
from ops.emulators.servicebus.entities.errors import EntityError, lock_lost
from ops.emulators.servicebus.entities.message import Message, split_batch
from ops.emulators.servicebus.entities.namespace import Namespace
from ops.emulators.servicebus.entities.queue import Queue
from ops.emulators.servicebus.faults import Faults
from ops.emulators.servicebus.nodes.settling import refused, settle
from ops.emulators.servicebus.nodes.striking import breaks, refusal
from ops.emulators.servicebus.wire.incoming import Delivery
from ops.emulators.servicebus.wire.outgoing import OutgoingLink
from ops.emulators.servicebus.wire.ports import Settlement

#: The message format of a batch: each data section is a message.
BATCH_FORMAT = 0x80013700


class EntitySink:
    """Sends to a queue or topic.

    Parameters:
      namespace: Where the entity is looked up, each time, since it may be another by then.
      path: Its path.
      faults: What is to go wrong.
    """

    def __init__(self, namespace: Namespace, path: str, faults: Faults) -> None:
        self.path = path
        self._namespace = namespace
        self._faults = faults

    def accept(self, delivery: Delivery) -> None:
        """Enqueue a message or a batch, and say so when it is kept."""
        fault = self._faults.strike("send", self.path)
        if fault is not None and fault.moment == "before":
            if not breaks(fault, delivery.link):
                delivery.settle(refused(refusal(fault, self.path)))
            return
        try:
            entity = self._namespace.target(self.path)
            is_batch = delivery.message_format == BATCH_FORMAT
            payloads = split_batch(delivery.payload) if is_batch else [delivery.payload]
            entity.accept([Message(payload) for payload in payloads])
        except EntityError as error:
            delivery.settle(refused(error))
        except DecodeError as error:
            delivery.settle(rejected(AmqpError("amqp:decode-error", str(error))))
        else:
            if not breaks(fault, delivery.link):
                self._namespace.store.after_commit(partial(delivery.settle, ACCEPTED_STATE))

    def close(self) -> None:
        """Nothing is held."""


class QueueSource:
    """Receives from a queue, a subscription or a dead-letter queue.

    Parameters:
      namespace: Where its messages are kept.
      queue: The entity.
      deletes: Whether messages are deleted as they are sent, instead of locked.
      faults: What is to go wrong.
    """

    def __init__(self, namespace: Namespace, queue: Queue, *, deletes: bool, faults: Faults) -> None:
        self.path = queue.name
        self.deletes = deletes
        self._queue = queue
        self._store = namespace.store
        self._faults = faults
        self._link = cast("OutgoingLink", None)

    @property
    def can_take(self) -> bool:
        """Whether the receiver has given credit that can be used now."""
        return self._link.can_send

    def start(self, link: OutgoingLink) -> None:
        """Remember the link; nothing is sent before it has credit."""
        self._link = link

    def more(self) -> None:
        """Take messages from the queue."""
        self._queue.serve(self)

    def take(self, message: Message) -> None:
        """Send a message."""
        fault = self._faults.strike("deliver", self.path)
        if fault is not None and fault.moment == "before" and breaks(fault, self._link):
            return
        self._link.send(message.encode(), message.lock or message.sequence.to_bytes(8))
        breaks(fault, self._link)

    def settle(self, settlement: Settlement) -> None:
        """Settle a message as the receiver says, and answer when that is kept."""
        fault = self._faults.strike("settle", self.path)
        if fault is not None and fault.moment == "before":
            if breaks(fault, settlement.link):
                return
            if fault.kind == "lock-lost":
                self._queue.lose_lock(settlement.tag)
                settlement.answer(refused(lock_lost()))
            else:
                settlement.answer(refused(refusal(fault, self.path)))
            return
        try:
            state = settle(self._queue, settlement.tag, settlement.state)
        except EntityError as error:
            settlement.answer(refused(error))
            return
        if not breaks(fault, settlement.link):
            self._store.after_commit(partial(settlement.answer, state))

    def close(self) -> None:
        """Take nothing any more; what is locked stays so until the locks expire."""
        self._queue.leave(self)
