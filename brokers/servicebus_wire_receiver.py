"""Links that receive, and what becomes of what they received."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from azure.servicebus._pyamqp import error as amqp
from azure.servicebus._pyamqp import outcomes
from azure.servicebus._pyamqp.receiver import check_disposition_outcome, outcome_name

from brokers.servicebus_faults import LinkLost, LockLost, kind_of
from brokers.servicebus_wire import Link

DRAIN_SECONDS: Final = 1.0

_LOCKED_UNTIL: Final = b"x-opt-locked-until"
_SEQUENCE_NUMBER: Final = b"x-opt-sequence-number"
_REASON: Final = "DeadLetterReason"
_DESCRIPTION: Final = "DeadLetterErrorDescription"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is to become of a message: ``completed``, ``abandoned``, ``released`` or ``suspended``.

    Abandoning counts as a delivery, releasing does not. To suspend is Service Bus's word for making a dead
    letter, with its reason and description.
    """

    name: str
    reason: str = ""
    description: str = ""

    def state(self) -> Any:
        """Give the AMQP delivery state."""
        if self.name == "completed":
            return outcomes.Accepted()
        if self.name == "released":
            return outcomes.Released()
        if self.name == "abandoned":
            return outcomes.Modified(delivery_failed=True, undeliverable_here=False)
        error = amqp.AMQPError(
            condition=b"com.microsoft:dead-letter",  # pyright: ignore[reportArgumentType] -- a symbol, as any other
            description=self.description,
            info={_REASON: self.reason, _DESCRIPTION: self.description},
        )
        return outcomes.Rejected(error=error)


@dataclass(eq=False, slots=True)
class Received:
    """A message as it came over a link, with the lock on it.

    Attributes:
      link: Where it came from.
      body: What the sender sent.
      token: Names the lock.
      delivery_id: Names the delivery on its link.
      tag: The delivery's tag.
      deliveries: How often it was delivered before.
      sequence: Its number in the queue.
      locked_until: The end of the lock, on the clock of `time.monotonic`.
    """

    link: "ReceiverLink"
    body: bytes
    token: UUID
    delivery_id: int
    tag: bytes
    deliveries: int
    sequence: int
    locked_until: float


class ReceiverLink(Link):
    """A link that receives what it grants credit for.

    Parameters:
      owner: The SDK's receiver.
      on_received: Called with each message.
    """

    def __init__(self, owner: Any, on_received: Callable[[Received], None]) -> None:
        super().__init__(owner)
        self._on_received = on_received
        self._settling: dict[int, asyncio.Future[Any]] = {}
        self._flowed = asyncio.Event()

    async def open(self) -> None:
        """Connect, authenticate and attach; see `Link.open`."""
        await super().open()
        self.amqp._on_transfer = self._transferred
        self.amqp._incoming_disposition = self._disposed
        self.amqp._incoming_flow = self._flow
        self.amqp.current_link_credit = 0  # the SDK has granted itself some; the first flow is read in `run`

    async def run(self) -> None:
        """Read what comes, until the link ends; see `Link.run`."""
        try:
            await super().run()
        finally:
            for future in self._settling.values():
                if not future.done():
                    future.set_exception(LinkLost("the link ended before a settlement was confirmed"))

    @property
    def credit(self) -> int:
        """How many messages may still come."""
        return self.amqp.current_link_credit

    async def grant(self, credit: int) -> None:
        """Let so many messages come, those granted before included."""
        await self.amqp.flow(link_credit=credit)

    async def drain(self, credit: int = 0) -> None:
        """Let at most so many messages come, and wait until those that are there have come."""
        self._flowed.clear()
        # without credit there is nothing to drain, and only an echo tells that all has come
        await self.amqp.flow(link_credit=credit, drain=credit > 0, echo=credit == 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._flowed.wait()

    async def settle(self, received: Received, outcome: Outcome) -> None:
        """Settle a message, and wait until that is confirmed.

        Raises:
          LockLost: Somebody else holds the message, or it is gone.
          LinkLost: It is not known whether it was settled.
        """
        state = outcome.state()
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._settling[received.delivery_id] = future
        try:
            async with self._answered():
                await self.amqp._outgoing_disposition(
                    first=received.delivery_id,
                    last=None,
                    delivery_tag=received.tag,
                    settled=False,
                    state=state,
                    batchable=None,
                )
                answer = await future
            check_disposition_outcome(received.delivery_id, answer, outcome_name(state))
        except (amqp.AMQPException, OSError) as error:
            if kind_of(error) == "lock_lost":
                raise LockLost("the lock on the message was lost") from error
            raise LinkLost(f"the settlement was not confirmed: {error}") from error
        finally:
            self._settling.pop(received.delivery_id, None)

    async def _transferred(self, frame: Sequence[Any], message: Any) -> None:
        annotations: dict[bytes, Any] = message.message_annotations or {}
        until = annotations.get(_LOCKED_UNTIL)
        remaining = until / 1000 - time.time() if until else 0.0
        self._on_received(
            Received(
                link=self,
                body=_body(message),
                token=UUID(bytes_le=bytes(frame[2])),
                delivery_id=frame[1],
                tag=frame[2],
                deliveries=(message.header.delivery_count if message.header else 0) or 0,
                sequence=annotations.get(_SEQUENCE_NUMBER, 0),
                locked_until=time.monotonic() + remaining,
            )
        )

    async def _disposed(self, frame: Sequence[Any]) -> None:
        by_sender, first, last, settled, state = not frame[0], frame[1], frame[2], frame[3], frame[4]
        if not by_sender or not settled:
            return
        for delivery_id in range(first, (first if last is None else last) + 1):
            future = self._settling.get(delivery_id)
            if future is not None and not future.done():
                future.set_result(state)

    async def _flow(self, frame: Sequence[Any]) -> None:
        if frame[4] is None:
            return  # it speaks of the session, not of this link
        if frame[8]:  # the other side has used up what was left of the credit
            self.amqp.delivery_count, self.amqp.current_link_credit = frame[5], 0
        self._flowed.set()


def _body(message: Any) -> bytes:
    """Give the bytes of a message; what other senders send may have another form."""
    data: Any = message.data
    if data is None:
        return repr(message.value if message.value is not None else message.sequence).encode()
    return data if isinstance(data, bytes) else b"".join(bytes(part) for part in data)
