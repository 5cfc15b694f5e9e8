"""How many runs there may be at a time, and of whom."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from lightning.containers import ListedRun, Runner
from lightning.domain.runs import Run


class TaskRoom:
    """The room for runs on a runner, of which a user has three quarters.

    Runs that this process is about to start count as those that the runner lists. Of what other processes are
    about to start nothing is known, so that together they may start more by as many.

    Parameters:
      runner: Where containers run.
      total: Runs at a time; None leaves it to the runner.
    """

    def __init__(self, runner: Runner, total: int | None) -> None:
        self._runner = runner
        self._total = total
        self._starting: list[ListedRun] = []
        self._looking = asyncio.Lock()

    @asynccontextmanager
    async def of(self, run: Run) -> AsyncGenerator[bool]:
        """Tell whether there is room for a run, which is kept for it until it is left.

        Raises:
          Transient: The runner does not answer.
        """
        asked = ListedRun(run.name, {"user": run.document["userID"]})
        # one after another: else two that look together would see nothing of each other
        async with self._looking:
            has_room = await self._has_room_for(asked)
            if has_room:
                self._starting.append(asked)
        try:
            yield has_room
        finally:
            if has_room:
                self._starting.remove(asked)

    async def _has_room_for(self, asked: ListedRun) -> bool:
        if self._total is None:
            return True
        # noted before the runner lists: a start that is done meanwhile may be in neither afterwards
        users = {each.name: each.tags.get("user") for each in self._starting}
        async for each in self._runner.list():
            users.setdefault(each.name, each.tags.get("user"))
        users.pop(asked.name, None)
        own = sum(each == asked.tags["user"] for each in users.values())
        return len(users) < self._total and own < max(1, self._total * 3 // 4)
