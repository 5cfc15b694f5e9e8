"""Chats that follow from what has a budget spend from it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass

import structlog

from lightning.domain.budgets import Budgets
from lightning.errors import LightningError, Transient
from lightning.events import EventDocument
from lightning.llm import ChatMessage, Options, ToolSpec
from lightning.llm.bill import CALL_SECONDS, GRACE_SECONDS, Bill, json_text, prompt_tokens
from lightning.llm.window import window_of

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Granted:
    """What one answer may cost.

    Parameters:
      bill: What it has cost.
      options: Bounds the answer; None does not.
    """

    bill: Bill
    options: Options | None


class ChatBudget:
    """Meters chats.

    Parameters:
      budgets: The ledgers; None meters nothing.
    """

    def __init__(self, budgets: Budgets | None) -> None:
        self._budgets = budgets

    @asynccontextmanager
    async def granted(
        self,
        event: EventDocument,
        messages: Sequence[ChatMessage],
        model: str,
        tools: Sequence[ToolSpec] = (),
        number: int = 0,
    ) -> AsyncGenerator[Granted]:
        """Reserve what an answer may cost, for as long as it is asked for, and settle what it did.

        A chat that began by itself has no ledger, nor has one that follows from what spent nothing limited:
        then nothing is read or written.

        Parameters:
          event: The event that is worked on.
          messages: What the model is shown.
          model: Who is asked.
          tools: What it is offered.
          number: Which question of this attempt it is.

        Raises:
          BudgetExhausted: The budget is spent.
          BudgetReserved: The rest of it is held by calls under way.
        """
        bill = Bill(prompt_tokens(messages, (json_text(asdict(tool)) for tool in tools)))
        budgets = self._budgets
        if budgets is None or not await self._is_metered(budgets, event):
            yield Granted(bill, None)
            return
        call = f"chat-{event['id']}-{event['claims']}" + (f"-{number}" if number else "")
        most = bill.prompt_tokens + window_of(model).answer
        granted = await budgets.reserve(
            event, call, least=bill.prompt_tokens + 1, most=most, seconds=CALL_SECONDS + GRACE_SECONDS
        )
        left = granted - bill.prompt_tokens
        try:
            yield Granted(bill, None if granted == most else Options(max_completion_tokens=left))
        except LightningError as error:
            bill.fail(error)
            raise
        finally:
            await self._settle(budgets, event, call, bill)

    @staticmethod
    async def _is_metered(budgets: Budgets, event: EventDocument) -> bool:
        if event["root"] == event["id"]:
            return False
        return await budgets.find(event["userID"], event["root"]) is not None

    @staticmethod
    async def _settle(budgets: Budgets, event: EventDocument, call: str, bill: Bill) -> None:
        try:
            await budgets.settle(event, call, bill.tokens)
        except Transient as error:
            # an answer that was paid for is not lost for it: the reservation counts in its place
            _log.warning("call_not_settled", event_id=event["id"], error=error.message)
