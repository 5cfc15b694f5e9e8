"""The link that sends to a queue of Service Bus, and the form in which it sends."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from azure.servicebus._pyamqp import error as amqp
from azure.servicebus._pyamqp.constants import LinkState
from azure.servicebus._transport._pyamqp_transport import PyamqpTransport

from brokers.servicebus_encoding import encode_batch, encode_message, transfers
from brokers.servicebus_faults import LinkLost
from brokers.servicebus_wire import Link

#: Standard tier: https://learn.microsoft.com/azure/service-bus-messaging/service-bus-quotas
MAX_BATCH_BYTES: Final = 256 * 1024

#: What the envelope of a batch and its frame may take of that.
_ENVELOPE_BYTES: Final = 1024

#: What uvloop raises where something is written before the end of a connection has been read.
_TransportClosed = RuntimeError


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message in the form in which it is sent."""

    message_id: str
    payload: bytes


def encode(body: bytes, message_id: str, due: datetime | None) -> Encoded:
    """Encode a message once, on the thread of its sender; see `encode_message`."""
    return Encoded(message_id, encode_message(body, message_id, due))


class SenderLink(Link):
    """A link that sends batches, several at a time."""

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self._sending: dict[int, asyncio.Future[None]] = {}
        self._flowed = asyncio.Event()
        self._has_ended = False

    async def open(self) -> None:
        """Connect, authenticate and attach; see `Link.open`."""
        await super().open()
        self.amqp._incoming_flow = self._flow
        self.amqp._incoming_disposition = self._disposed
        self.amqp.current_link_credit = 0  # the SDK has granted itself some; the first flow is read in `run`

    async def run(self) -> None:
        """Read what comes, until the link ends; see `Link.run`."""
        try:
            await super().run()
        finally:
            self._has_ended = True
            self._flowed.set()
            for future in self._sending.values():
                if not future.done():
                    future.set_exception(LinkLost("the link ended before a batch was confirmed"))

    @property
    def limit_bytes(self) -> int:
        """The most that the messages of one batch may take together."""
        batch = PyamqpTransport.get_remote_max_message_batch_size(self._handler)
        message = PyamqpTransport.get_remote_max_message_size(self._handler)
        return min(batch or MAX_BATCH_BYTES, message or MAX_BATCH_BYTES) - _ENVELOPE_BYTES

    async def send(self, messages: Sequence[Encoded]) -> None:
        """Send messages as one batch, which is taken whole or not at all.

        Raises:
          AMQPException: It was refused.
          LinkLost: It is not known whether it was taken.
        """
        batch = encode_batch([message.payload for message in messages], messages[0].message_id)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        delivery_id = None
        try:
            async with self._answered():
                async with self._turn:
                    await self._credit()
                    delivery_id = self._next_delivery()
                    self._sending[delivery_id] = future
                    await self._transfer(delivery_id, batch)
                await future
        except (amqp.AMQPConnectionError, amqp.AMQPLinkError, OSError, _TransportClosed) as error:
            raise LinkLost(str(error)) from error
        finally:
            if delivery_id is not None:
                del self._sending[delivery_id]
            if future.done() and not future.cancelled():
                future.exception()  # it may have failed while the batch was still being sent

    def _next_delivery(self) -> int:
        """Take the next delivery id; all links of a session share them."""
        session = self.amqp._session
        delivery_id: int = session.next_outgoing_id
        session.next_outgoing_id += 1
        session.remote_incoming_window -= 1
        self.amqp.delivery_count += 1
        self.amqp.current_link_credit -= 1
        return delivery_id

    async def _transfer(self, delivery_id: int, batch: bytes) -> None:
        connection = self._connection
        frames = transfers(
            batch,
            channel=self.amqp._session.channel,
            handle=self.amqp.handle,
            delivery_id=delivery_id,
            tag=self.amqp.delivery_count,
            max_frame=connection._remote_max_frame_size,
        )
        connection._last_frame_sent_time = time.time()
        await connection._transport.write(b"".join(frames))

    async def _credit(self) -> None:
        """Wait until a message may be sent.

        Raises:
          LinkLost: None can be sent any more.
        """
        while True:
            if self._has_ended or self.amqp.get_state() is not LinkState.ATTACHED:
                raise LinkLost("the link ended before a batch could be sent")
            if self.amqp.current_link_credit > 0 and self.amqp._session.remote_incoming_window > 0:
                return
            self._flowed.clear()
            await self._flowed.wait()

    async def _disposed(self, frame: Sequence[Any]) -> None:
        """Tell those whose batches the other side has settled."""
        by_receiver, first, last, settled, state = frame[:5]
        if not by_receiver or not settled:
            return
        for delivery_id in range(first, (first if last is None else last) + 1):
            future = self._sending.get(delivery_id)
            if future is not None and not future.done():
                _settle(future, state)

    async def _flow(self, frame: Sequence[Any]) -> None:
        if frame[4] is not None:  # else it speaks of the session alone
            sent = self.amqp.delivery_count - (frame[5] or 0)
            self.amqp.current_link_credit = (frame[6] or 0) - sent
        self._flowed.set()


def _settle(future: asyncio.Future[None], state: Any) -> None:
    if state and "accepted" in state:
        future.set_result(None)
    elif state and "rejected" in state:
        error: Any = state["rejected"][0]
        description = error[1] if len(error) > 1 else None
        future.set_exception(amqp.MessageException(error[0], description=description))
    else:
        future.set_exception(LinkLost(f"a batch was neither accepted nor rejected, but {state}"))


def utc(milliseconds_from_now: int) -> datetime:
    """Give the time of a delay, as Service Bus wants it."""
    return datetime.fromtimestamp(time.time() + milliseconds_from_now / 1000, UTC)
