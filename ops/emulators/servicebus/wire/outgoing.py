"""A link on which we send and a peer receives (AMQP 1.0, 2.6)."""

from typing import TYPE_CHECKING

from ops.emulators.servicebus.codec.frames import TRANSFER_OVERHEAD, AmqpError, Frame, transfer
from ops.emulators.servicebus.wire.idle import IdleTimer
from ops.emulators.servicebus.wire.ports import Source, wire_error

if TYPE_CHECKING:
    from ops.emulators.servicebus.wire.session import Session


class OutgoingLink:
    """Sends messages while the peer has given credit for them.

    Parameters:
      session: Its session.
      handle: Its handle; both sides use the same number.
      name: Its name.
      is_settled: Whether deliveries are settled as they are sent.
      source: Where the messages come from.
    """

    __slots__ = (
        "_draining",
        "credit",
        "delivery_count",
        "handle",
        "idle",
        "is_open",
        "is_settled",
        "name",
        "session",
        "source",
    )

    def __init__(
        self, session: "Session", *, handle: int, name: str, is_settled: bool, source: Source
    ) -> None:
        self.session = session
        self.handle = handle
        self.name = name
        self.is_settled = is_settled
        self.source = source
        self.credit = 0
        self.delivery_count = 0
        self.is_open = True
        self._draining = False
        self.idle = IdleTimer(session.connection.limits.link_idle_seconds, self._idle)

    @property
    def can_send(self) -> bool:
        """Whether a message can be sent now."""
        return self.credit > 0 and self.is_open and self.session.can_send

    def send(self, payload: bytes, tag: bytes) -> int:
        """Send a message, in as many frames as it needs.

        Parameters:
          payload: The encoded message.
          tag: The delivery's tag.

        Returns:
          The delivery's id.
        """
        self.idle.touch()
        session = self.session
        session.connection.touch()
        delivery_id = session.new_delivery_id()
        self.credit -= 1
        self.delivery_count = self.delivery_count + 1 & 0xFFFFFFFF
        if not self.is_settled:
            session.unsettled[delivery_id] = (self, tag)
        room = session.connection.max_frame_out - TRANSFER_OVERHEAD
        total, start = len(payload), 0
        while True:
            more = total - start > room
            performative = transfer(
                handle=self.handle,
                delivery_id=delivery_id,
                tag=tag,
                settled=self.is_settled,
                more=more,
                is_first=start == 0,
            )
            session.send_transfer(
                performative, payload if start == 0 and not more else payload[start : start + room]
            )
            if not more:
                return delivery_id
            start += room

    def flow(self, frame: Frame) -> None:
        """Take the peer's view of the link: its credit is absolute (2.6.7)."""
        self.idle.touch()
        count = frame.number(5, 0)
        credit = frame.number(6, 0)
        limit = count + credit - self.delivery_count & 0xFFFFFFFF
        self.credit = limit if limit < 0x80000000 else 0
        self._draining = frame.field(8) is True
        self.more()
        if frame.field(9) is True:
            self.session.send_flow(self)

    def more(self) -> None:
        """Send what there is; what credit is left of a drain is used up (2.6.7)."""
        if self.can_send:
            self.source.more()
        if self.is_open and self._draining and (self.credit == 0 or self.can_send):
            self._draining = False
            self.delivery_count = self.delivery_count + self.credit & 0xFFFFFFFF
            self.credit = 0
            self.session.send_flow(self, drain=True)

    def detach(self, error: AmqpError | None) -> None:
        """Detach it from this side, for good."""
        if self.is_open:
            self.session.detach(self.handle, error)

    def close(self) -> None:
        """Forget it; deliveries that are unsettled stay locked until their locks expire."""
        if self.is_open:
            self.is_open = False
            self.idle.cancel()
            self.source.close()

    def transfer(self, _frame: Frame) -> None:
        """Refuse a transfer: the peer receives on this link."""
        raise wire_error("amqp:not-allowed", f"the link {self.name} only carries messages to its receiver")

    def _idle(self) -> None:
        self.detach(idle_error(self.name, self.idle.seconds))


def idle_error(name: str, seconds: float) -> AmqpError:
    """Say that a link was not used."""
    return AmqpError(
        "amqp:link:detach-forced",
        f"The link '{name}' is force detached by the broker: IdleTimerExpired: Idle timeout: {seconds:g} s.",
    )
