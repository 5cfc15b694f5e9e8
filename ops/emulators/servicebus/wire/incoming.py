"""A link on which a peer sends and we receive (AMQP 1.0, 2.6)."""

from typing import TYPE_CHECKING

from ops.emulators.servicebus.codec.frames import TRANSACTIONAL_STATE, AmqpError, Frame
from ops.emulators.servicebus.codec.outcomes import rejected
from ops.emulators.servicebus.codec.values import Described
from ops.emulators.servicebus.wire.idle import IdleTimer
from ops.emulators.servicebus.wire.outgoing import idle_error
from ops.emulators.servicebus.wire.ports import NO_TRANSACTIONS, Sink, wire_error

if TYPE_CHECKING:
    from ops.emulators.servicebus.wire.session import Session

#: How many messages a peer may send ahead; renewed when half is used.
CREDIT = 1000


class Delivery:
    """A message that a peer sent.

    Parameters:
      link: The link that it came on.
      delivery_id: Its id in the session.
      message_format: Its format (3.2.16), which says whether it is a batch.
      payload: The encoded message.
      is_settled: Whether the peer waits for no answer.
    """

    __slots__ = ("delivery_id", "is_settled", "link", "message_format", "payload")

    def __init__(
        self, link: "IncomingLink", *, delivery_id: int, message_format: int, payload: bytes, is_settled: bool
    ) -> None:
        self.link = link
        self.delivery_id = delivery_id
        self.message_format = message_format
        self.payload = payload
        self.is_settled = is_settled

    def settle(self, state: bytes) -> None:
        """Tell the peer the outcome."""
        if not self.is_settled and self.link.is_open:
            self.link.session.settle(self.delivery_id, state)


class IncomingLink:
    """Receives messages, puts their frames together and hands them on.

    Parameters:
      session: Its session.
      handle: Its handle; both sides use the same number.
      name: Its name.
      sink: Where the messages go.
    """

    __slots__ = (
        "_first",
        "_parts",
        "_size",
        "credit",
        "delivery_count",
        "handle",
        "idle",
        "is_open",
        "name",
        "session",
        "sink",
    )

    def __init__(
        self, session: "Session", *, handle: int, name: str, sink: Sink, delivery_count: int
    ) -> None:
        self.session = session
        self.handle = handle
        self.name = name
        self.sink = sink
        self.credit = 0
        self.delivery_count = delivery_count
        self.is_open = True
        self._first: Frame | None = None
        self._parts: list[bytes] = []
        self._size = 0
        self.idle = IdleTimer(session.connection.limits.link_idle_seconds, self._idle)

    def grant(self) -> None:
        """Let the peer send."""
        self.credit = CREDIT
        self.session.send_flow(self)

    def transfer(self, frame: Frame) -> None:
        """Take a frame of a message; with its last, hand it on."""
        self.idle.touch()
        first = self._first or frame
        if self._first is None and frame.field(1) is None:
            raise wire_error("amqp:invalid-field", "the first transfer of a delivery needs a delivery-id")
        if frame.field(9) is True:  # aborted (2.7.5): the delivery is as if it had never been
            self._forget()
            return
        self._size += len(frame.payload)
        is_too_large = self._size > self.session.connection.limits.max_message_size
        if not is_too_large:
            self._parts.append(frame.payload)
        if frame.field(5) is True:
            self._first = first
            return
        if is_too_large:
            self._refuse(first)
            return
        state = first.field(7)
        if isinstance(state, Described) and state.descriptor == TRANSACTIONAL_STATE:
            self._reject(first, NO_TRANSACTIONS)
            return
        payload = frame.payload if len(self._parts) == 1 else b"".join(self._parts)
        self._forget()
        self._complete(first, payload, is_settled=frame.field(4, first.field(4)) is True)

    def flow(self, frame: Frame) -> None:
        """Take the peer's view of the link; it grants no credit here, but may ask for ours."""
        self.idle.touch()
        if frame.field(9) is True:
            self.session.send_flow(self)

    def more(self) -> None:
        """Nothing is sent on this link."""

    def detach(self, error: AmqpError | None) -> None:
        """Detach it from this side, for good."""
        if self.is_open:
            self.session.detach(self.handle, error)

    def close(self) -> None:
        """Forget it."""
        if self.is_open:
            self.is_open = False
            self.idle.cancel()
            self.sink.close()

    def _complete(self, first: Frame, payload: bytes, *, is_settled: bool) -> None:
        delivery = Delivery(
            self,
            delivery_id=first.number(1),
            message_format=first.number(3, 0),
            payload=payload,
            is_settled=is_settled,
        )
        self._count()
        self.sink.accept(delivery)

    def _count(self) -> None:
        """Count a delivery, and let the peer send more in time."""
        self.delivery_count = self.delivery_count + 1 & 0xFFFFFFFF
        self.credit -= 1
        if self.credit <= CREDIT // 2 and self.is_open:
            self.grant()

    def _forget(self) -> None:
        self._first = None
        self._parts = []
        self._size = 0

    def _refuse(self, first: Frame) -> None:
        """Refuse a message that is too large."""
        limit = self.session.connection.limits.max_message_size
        error = AmqpError(
            "amqp:link:message-size-exceeded",
            f"The received message (delivery-id:{first.number(1)}, size:{self._size} bytes) exceeds the "
            f"limit ({limit} bytes) currently allowed on the link.",
        )
        self._reject(first, error)

    def _reject(self, first: Frame, error: AmqpError) -> None:
        """Say no to a delivery; for one that was sent settled, only a detach can say so."""
        self._forget()
        self._count()
        if first.field(4) is True:
            self.detach(error)
        else:
            self.session.settle(first.number(1), rejected(error))

    def _idle(self) -> None:
        self.detach(idle_error(self.name, self.idle.seconds))
