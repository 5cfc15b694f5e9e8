"""A session: windows, delivery ids and links (AMQP 1.0, 2.5)."""

from collections import deque
from typing import TYPE_CHECKING

from ops.emulators.servicebus.codec.frames import (
    ATTACH,
    BEGIN,
    DETACH,
    FLOW,
    RECEIVED,
    AmqpError,
    Frame,
    disposition,
    frame,
    performative,
)
from ops.emulators.servicebus.codec.frames import DISPOSITION as DISPOSITION_CODE
from ops.emulators.servicebus.codec.frames import TRANSFER as TRANSFER_CODE
from ops.emulators.servicebus.codec.values import Described, UInt, ULong, UShort
from ops.emulators.servicebus.wire.attaching import attach_fields, read_attach
from ops.emulators.servicebus.wire.incoming import IncomingLink
from ops.emulators.servicebus.wire.outgoing import OutgoingLink
from ops.emulators.servicebus.wire.ports import Attach, Settlement, WireError, wire_error

if TYPE_CHECKING:
    from ops.emulators.servicebus.wire.connection import Connection

#: How many transfer frames a peer may send ahead; renewed when half is used.
INCOMING_WINDOW = 5000
OUTGOING_WINDOW = 5000
HANDLE_MAX = 255


class Session:
    """One session of a connection.

    Parameters:
      connection: Its connection.
      channel: Its channel; both sides use the same number.
      begin: The peer's begin.
    """

    def __init__(self, connection: "Connection", channel: int, begin: Frame) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, IncomingLink | OutgoingLink] = {}
        self.unsettled: dict[int, tuple[OutgoingLink, bytes]] = {}
        self._next_incoming = begin.number(1)
        self._incoming_window = INCOMING_WINDOW
        self._next_outgoing = 0
        self._outgoing_window = begin.number(2)
        self._next_delivery = 0
        self._blocked: deque[tuple[bytes, bytes]] = deque()
        handle_max = min(HANDLE_MAX, begin.number(4, HANDLE_MAX))
        fields: list[object] = [
            *(UShort(channel), UInt(0), UInt(INCOMING_WINDOW), UInt(OUTGOING_WINDOW), UInt(handle_max)),
        ]
        connection.send(frame(channel, performative(BEGIN, fields)))

    @property
    def can_send(self) -> bool:
        """Whether the peer's window and the socket take another frame."""
        return self._outgoing_window > 0 and not self._blocked and self.connection.can_send

    def handle(self, received: Frame) -> None:
        """Act on a frame of this session.

        Raises:
          WireError: The frame breaks the protocol.
        """
        if received.code == TRANSFER_CODE:
            self._transfer(received)
        elif received.code == DISPOSITION_CODE:
            self._disposition(received)
        elif received.code == FLOW:
            self._flow(received)
        elif received.code == ATTACH:
            self._attach(received)
        elif received.code == DETACH:
            self._detached(received)
        else:
            raise wire_error("amqp:not-implemented", f"no performative has the code {received.code:#04x}")

    def new_delivery_id(self) -> int:
        """Take the next delivery id, which all links of the session share."""
        delivery_id = self._next_delivery
        self._next_delivery = delivery_id + 1 & 0xFFFFFFFF
        return delivery_id

    def send_transfer(self, encoded: bytes, payload: bytes) -> None:
        """Send a transfer frame, once the peer's window has room for it."""
        if self._outgoing_window > 0 and not self._blocked:
            self._outgoing_window -= 1
            self._next_outgoing = self._next_outgoing + 1 & 0xFFFFFFFF
            self.connection.send(frame(self.channel, encoded, payload))
        else:
            self._blocked.append((encoded, payload))

    def send_flow(self, link: IncomingLink | OutgoingLink | None = None, *, drain: bool = False) -> None:
        """Tell the peer this side's view of the session, and of a link if one is given."""
        fields: list[object] = [
            UInt(self._next_incoming),
            UInt(self._incoming_window),
            UInt(self._next_outgoing),
            UInt(OUTGOING_WINDOW),
        ]
        if link is not None:
            fields += [UInt(link.handle), UInt(link.delivery_count), UInt(link.credit), None]
            fields.append(True if drain else None)
        self.connection.send(frame(self.channel, performative(FLOW, fields)))

    def settle(self, delivery_id: int, state: bytes) -> None:
        """Settle a delivery that the peer sent."""
        encoded = disposition(is_receiver=True, first=delivery_id, last=delivery_id, state=state)
        self.connection.send(frame(self.channel, encoded))

    def answer(self, delivery_id: int, state: bytes) -> None:
        """Settle a delivery that was sent to the peer."""
        encoded = disposition(is_receiver=False, first=delivery_id, last=delivery_id, state=state)
        self.connection.send(frame(self.channel, encoded))

    def detach(self, handle: int, error: AmqpError | None) -> None:
        """Detach a link from this side, for good."""
        link = self.links.get(handle)
        if link is not None and link.is_open:
            link.close()
            described = None if error is None else error.described()
            self.connection.send(frame(self.channel, performative(DETACH, [UInt(handle), True, described])))
            self.connection.links_changed()

    def more(self) -> None:
        """Send what can be sent: the window or the socket has room again."""
        while self._blocked and self._outgoing_window > 0:
            encoded, payload = self._blocked.popleft()
            self._outgoing_window -= 1
            self._next_outgoing = self._next_outgoing + 1 & 0xFFFFFFFF
            self.connection.send(frame(self.channel, encoded, payload))
        for link in tuple(self.links.values()):
            link.more()

    def close(self) -> None:
        """Forget the session and its links."""
        for link in self.links.values():
            link.close()
        self.links.clear()
        self.unsettled.clear()
        self._blocked.clear()

    def _transfer(self, received: Frame) -> None:
        self._next_incoming = self._next_incoming + 1 & 0xFFFFFFFF
        self._incoming_window -= 1
        link = self._link(received)
        if link is None:
            return
        link.transfer(received)
        if self._incoming_window <= INCOMING_WINDOW // 2:
            self._incoming_window = INCOMING_WINDOW
            self.send_flow()

    def _flow(self, received: Frame) -> None:
        self._outgoing_window = received.number(0, 0) + received.number(1) - self._next_outgoing & 0xFFFFFFFF
        if self._outgoing_window >= 0x80000000:
            self._outgoing_window = 0
        if self._blocked:
            self.more()
        if received.field(4) is not None:
            link = self._link(received, index=4)
            if link is not None:
                link.flow(received)
        else:
            self.more()
            if received.field(9) is True:
                self.send_flow()

    def _disposition(self, received: Frame) -> None:
        if received.field(0) is not True:  # of a sender about its own deliveries: nothing to do here
            return
        first = received.number(1)
        last = received.number(2, first)
        state = received.field(4)
        if state is not None and not isinstance(state, Described):
            raise wire_error("amqp:invalid-field", "a delivery state is a described value")
        is_settled = received.field(3) is True
        is_outcome = is_settled if state is None else state.descriptor != RECEIVED
        if not is_outcome:
            return
        for delivery_id in self._known(first, last):
            link, tag = self.unsettled.pop(delivery_id)
            link.idle.touch()
            link.source.settle(Settlement(link, delivery_id, tag, state, is_settled))

    def _known(self, first: int, last: int) -> list[int]:
        """Give the unsettled deliveries of a range, which the peer may have made huge."""
        if first == last:
            return [first] if first in self.unsettled else []
        span = last - first & 0xFFFFFFFF
        if span <= len(self.unsettled):
            ids = (first + offset & 0xFFFFFFFF for offset in range(span + 1))
            return [delivery_id for delivery_id in ids if delivery_id in self.unsettled]
        return [delivery_id for delivery_id in self.unsettled if delivery_id - first & 0xFFFFFFFF <= span]

    def _attach(self, received: Frame) -> None:
        handle = received.number(1)
        if handle > HANDLE_MAX:
            raise wire_error(
                "amqp:connection:framing-error", f"handle {handle} is above handle-max {HANDLE_MAX}"
            )
        if handle in self.links:
            raise wire_error("amqp:session:handle-in-use", f"handle {handle} is attached already")
        try:
            attach = read_attach(received)
            if attach.is_receiver:
                self._attach_source(received, handle, attach)
            else:
                self._attach_sink(received, handle, attach)
        except WireError as refused:
            self._refuse(received, handle, refused.error)
        else:
            self.connection.links_changed()

    def _attach_source(self, received: Frame, handle: int, attach: Attach) -> None:
        source = self.connection.container.source(self.connection, attach)
        link = OutgoingLink(
            self, handle=handle, name=attach.name, is_settled=attach.is_settled, source=source
        )
        self.links[handle] = link
        self._accept(received)
        source.start(link)

    def _attach_sink(self, received: Frame, handle: int, attach: Attach) -> None:
        sink = self.connection.container.sink(self.connection, attach)
        count = received.number(9, 0)
        link = IncomingLink(self, handle=handle, name=attach.name, sink=sink, delivery_count=count)
        self.links[handle] = link
        self._accept(received)
        link.grant()

    def _accept(self, received: Frame) -> None:
        limit = ULong(self.connection.limits.max_message_size)
        self.connection.send(frame(self.channel, performative(ATTACH, attach_fields(received, limit=limit))))

    def _refuse(self, received: Frame, handle: int, error: AmqpError) -> None:
        """Attach without a terminus, then detach with the reason (2.6.3)."""
        fields = attach_fields(received, limit=None)
        self.connection.send(frame(self.channel, performative(ATTACH, fields)))
        detach: list[object] = [UInt(handle), True, error.described()]
        self.connection.send(frame(self.channel, performative(DETACH, detach)))

    def _detached(self, received: Frame) -> None:
        handle = received.number(0)
        link = self.links.pop(handle, None)
        if link is None or not link.is_open:  # the answer to a detach of ours
            return
        link.close()
        for delivery_id in [key for key, (owner, _tag) in self.unsettled.items() if owner is link]:
            del self.unsettled[delivery_id]
        fields: list[object] = [UInt(handle), received.field(1) is True]
        self.connection.send(frame(self.channel, performative(DETACH, fields)))
        self.connection.links_changed()

    def _link(self, received: Frame, index: int = 0) -> IncomingLink | OutgoingLink | None:
        """Give a frame's link; none if it was detached on this side and the peer does not know yet.

        Raises:
          WireError: There never was one.
        """
        handle = received.number(index)
        link = self.links.get(handle)
        if link is None:
            raise wire_error("amqp:session:unattached-handle", f"no link has the handle {handle}")
        return link if link.is_open else None
