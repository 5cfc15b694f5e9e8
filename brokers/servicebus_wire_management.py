"""Requests about a queue's messages, as Service Bus's management nodes answer them.

Source: Microsoft, "AMQP 1.0 in Azure Service Bus: request-response-based operations".
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final, cast
from uuid import UUID

from azure.servicebus._common import mgmt_handlers  # pyright: ignore[reportPrivateUsage]

from brokers.servicebus_wire import ANSWER_SECONDS, Link
from brokers.servicebus_wire_receiver import Outcome

#: Answers that a management link gets before it is replaced: the SDK grants it credit for 10,000, once.
MAX_MANAGEMENT_ANSWERS: Final = 5000


class ManagementLink(Link):
    """A link on which requests are asked and answered one at a time."""

    _idle_seconds = None

    def __init__(self, owner: Any) -> None:
        super().__init__(owner)
        self.answers = 0

    async def renew(self, tokens: Sequence[UUID]) -> list[float]:
        """Renew locks, all or none of them.

        Returns:
          For how many seconds from now each of them holds.
        """
        answer = await self._ask(self._owner._renew_locks(*tokens))
        return [milliseconds / 1000 - time.time() for milliseconds in answer[b"expirations"]]

    async def settle(self, token: UUID, outcome: Outcome) -> None:
        """Settle a message whose link is gone; what cannot be released this way is abandoned."""
        details = None
        if outcome.name == "suspended":
            details = {"deadletter-reason": outcome.reason, "deadletter-description": outcome.description}
        name = "abandoned" if outcome.name == "released" else outcome.name
        await self._ask(self._owner._settle_message_via_mgmt_link(name, [token], dead_letter_details=details))

    async def peek(self, sequence: int, count: int) -> list[Any]:
        """Look at messages from a sequence number on, whatever their state."""
        return await self._ask(
            self._owner.peek_messages(count, sequence_number=sequence, timeout=ANSWER_SECONDS)
        )

    async def cancel_scheduled(self, sequences: Sequence[int]) -> None:
        """Remove messages that are not due yet."""
        transport = self._owner._amqp_transport
        numbers = [transport.AMQP_LONG_VALUE(sequence) for sequence in sequences]
        request = {"sequence-numbers": transport.AMQP_ARRAY_VALUE(numbers)}
        operation = b"com.microsoft:cancel-scheduled-message"
        answered = cast("Any", mgmt_handlers.default)  # pyright: ignore[reportUnknownMemberType] -- has no types
        await self._ask(self._owner._mgmt_request_response(operation, request, answered))

    async def _ask(self, request: Any) -> Any:
        self.answers += 1
        async with asyncio.timeout(ANSWER_SECONDS):
            return await request
