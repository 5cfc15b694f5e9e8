"""Budgets: one ledger for each root event, which all that follows from it shares.

A ledger is one document in its user's partition, under an id that follows from the root. What may cost
tokens is reserved on the document's etag before it is done, and settled after, so that however many spend
at one time, together they never spend more than there is.
"""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

from lightning.domain.ledger import (
    WHOLE,
    Account,
    BudgetExhausted,
    BudgetReserved,
    Container,
    Hold,
    Ledger,
    Limits,
)
from lightning.domain.ledger_document import read, written
from lightning.events import EventDocument
from lightning.ids import budget_id
from lightning.settings import Settings
from lightning.storage import Create, Operation, Replace, Storage, Stored

__all__ = ["BudgetExhausted", "BudgetReserved", "Budgets", "Ledger", "Limits", "open_budgets"]

CONTAINER: Final = "events"

#: Makes of a ledger the next one.
_Change = Callable[[Ledger], Ledger]


class Budgets:
    """Every user's ledgers.

    Parameters:
      storage: Where they stand, beside the events.
      ceilings: What no budget may exceed, and what holds where a task brings none.
      clock: The present moment in seconds since 1970.
    """

    def __init__(
        self,
        storage: Storage,
        ceilings: Limits = Limits(),  # noqa: B008 -- it cannot be changed
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._storage = storage
        self._ceilings = ceilings
        self._clock = clock

    async def open(self, event: EventDocument, asked: Limits | None = None) -> Ledger | None:
        """Read the ledger that an event spends from, with the budget that the event itself brings.

        The first event of a root that brings one brings that of the whole; a later one can only have less.

        Parameters:
          event: The event.
          asked: Its budget; None brings none.

        Returns:
          The ledger; None where nobody brought a budget, and nothing that is limited was spent.
        """
        timed = self._ceilings.container_seconds is not None or self._ceilings.wall_seconds is not None
        if asked is None and not timed:
            found = await self.find(event["userID"], event["root"])
            if found is None or found.below(event["id"], event["cause"]) == found:
                return found

        def change(ledger: Ledger) -> Ledger:
            ledger = ledger.below(event["id"], event["cause"])
            if asked is None:
                return ledger
            return ledger.opened(event["id"], _recorded(event), asked, self._ceilings)

        return await self._change(event, change)

    async def find(self, user_id: str, root: str) -> Ledger | None:
        """Read the ledger of a root event, as it stands."""
        stored = await self._storage.get(CONTAINER, user_id, budget_id(root))
        return None if stored is None else read(stored.body).due(self._clock())

    async def reserve(self, event: EventDocument, call: str, *, least: int, most: int, seconds: float) -> int:
        """Reserve tokens for a call.

        Parameters:
          event: The event that it is made for.
          call: A name that no other call has.
          least: Fewer are of no use.
          most: More are not needed.
          seconds: After so long they count as spent, if nobody settled by then.

        Returns:
          How many are reserved.

        Raises:
          BudgetExhausted: There are not as many.
          BudgetReserved: There are, but calls under way have reserved them.
        """
        granted = 0

        def change(ledger: Ledger) -> Ledger:
            nonlocal granted
            now = self._clock()
            granted = ledger.grant(event["id"], least, most, now)
            return ledger.reserved(call, Hold(event["id"], granted, now + seconds))

        await self._change(event, change)
        return granted

    async def settle(
        self, event: EventDocument, call: str, tokens: int, took: tuple[str, int, int] | None = None
    ) -> None:
        """Say what a call cost, which may be nothing; what was reserved for it is free again.

        A call that is past its time was counted in full, and stays so.

        Parameters:
          event: The event that it was made for.
          call: Its name.
          tokens: What it cost.
          took: The model, and the tokens that it was given and wrote, where nothing else in the log says so.
        """

        def change(ledger: Ledger) -> Ledger:
            settled = ledger.settled(call, tokens)
            return settled if took is None else settled.asked(event["id"], *took)

        await self._change(event, change)

    async def ran(self, event: EventDocument, start: str, seconds: float) -> Ledger:
        """Note for how long a container of an event has run by now.

        Parameters:
          event: The event.
          start: A name of this start of it; a larger number replaces the one noted before.
          seconds: Since it began.
        """
        container = Container(event["id"], round(seconds, 3))
        return await self._change(event, lambda ledger: ledger.ran(start, container))

    async def _change(self, event: EventDocument, change: _Change) -> Ledger:
        """Write a ledger anew, on its etag; nothing is written where nothing is new."""
        user_id, pivot = event["userID"], budget_id(event["root"])
        latest: list[Ledger] = []

        def build(stored: Stored | None) -> list[Operation]:
            known = read(stored.body) if stored is not None else self._new(event)
            changed = change(known.due(self._clock()))
            latest.append(changed)
            if stored is None:
                return [Create(written(changed, pivot, user_id, event["root"]))]
            if changed == known:
                return []
            return [Replace(written(changed, pivot, user_id, event["root"]), stored.etag)]

        await self._storage.batch_on(CONTAINER, user_id, pivot, build)
        return latest[-1]

    def _new(self, event: EventDocument) -> Ledger:
        return Ledger({WHOLE: Account(self._ceilings, _recorded(event))})


def open_budgets(settings: Settings, storage: Storage) -> Budgets:
    """Open the budgets with what the settings allow at most."""
    ceilings = Limits(settings.budget_tokens, settings.budget_container_seconds, settings.budget_wall_seconds)
    return Budgets(storage, ceilings)


def _recorded(event: EventDocument) -> float:
    return datetime.fromisoformat(event["recordedAt"].replace("Z", "+00:00")).timestamp()
