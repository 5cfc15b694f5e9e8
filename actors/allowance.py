"""What a task may still spend on time, as each look at its run finds it."""

import time
from dataclasses import dataclass
from typing import Final

from lightning.containers import RunStatus
from lightning.domain.budgets import BudgetExhausted, Budgets, Ledger, Limits
from lightning.domain.runs import Run
from lightning.events import EventDocument
from lightning.tasks import Budget, TaskMetadata

#: A look that is due at the end of a budget comes so long behind it, so that it finds it spent.
_BEHIND_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Allowed:
    """What is left for an event.

    Parameters:
      event: Its id.
      ledger: What it spends from; None is no limit.
    """

    event: str
    ledger: Ledger | None

    def check(self) -> None:
        """Check that there is time left.

        Raises:
          BudgetExhausted: There is none.
        """
        if self.ledger is not None:
            self.ledger.check_time(self.event, time.time())

    @property
    def spent(self) -> bool:
        """Whether there is no time left."""
        try:
            self.check()
        except BudgetExhausted:
            return True
        return False

    def at_most(self, seconds: float) -> float:
        """Shorten a wait so that it ends with the time that is left."""
        left = None if self.ledger is None else self.ledger.seconds_left(self.event, time.time())
        return seconds if left is None else min(seconds, max(0.0, left) + _BEHIND_SECONDS)


def limits_of(budget: Budget | None) -> Limits | None:
    """Give the limits that a budget names."""
    if budget is None:
        return None
    return Limits(budget.tokens, budget.containerSeconds, budget.wallSeconds)


class Allowance:
    """Keeps the time of runs within the budgets of their tasks.

    Parameters:
      budgets: The budgets.
    """

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets

    async def of(self, event: EventDocument, task: TaskMetadata) -> Allowed:
        """Read what a task may spend, with the budget that it brings."""
        return Allowed(event["id"], await self._budgets.open(event, limits_of(task.budget)))

    async def ran(
        self, event: EventDocument, allowed: Allowed, run: Run, status: RunStatus, looked: float
    ) -> Allowed:
        """Note for how long a container has run, where there is a budget.

        Parameters:
          event: The task.
          allowed: What it may spend.
          run: Its run.
          status: Where the run stood.
          looked: When one began to look, in seconds since 1970: one that still ran has run until then at
            least, while it may have ended since, and what is noted is never taken back.
        """
        if allowed.ledger is None or status.started_at is None:
            return allowed
        until = looked if status.ended_at is None else status.ended_at
        start = f"{run.document['id']}@{status.started_at:.3f}"
        ledger = await self._budgets.ran(event, start, max(0.0, until - status.started_at))
        return Allowed(event["id"], ledger)
