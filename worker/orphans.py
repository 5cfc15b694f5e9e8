"""Containers that nobody waits for any more are stopped and removed."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from actors.actor import Actor
from lightning.containers import ListedRun, Runner
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.log import EventLog

#: Between two looks.
LOOK_SECONDS: Final = 15.0

#: A container whose task is not to be found is removed after so long: a read may be stale.
UNKNOWN_SECONDS: Final = 20.0

#: Containers that are removed at a time.
TOGETHER: Final = 8

_log = structlog.get_logger(__name__)


class Orphans:
    """Looks through the containers of this installation.

    A container is written down before it is started, so one that nobody knows was left behind by a crash or
    by a store that is gone.

    Parameters:
      runner: Where containers run.
      log: Where their tasks are.
      task_runner: Lets go of what a task has.
      clock: Gives seconds that only grow.
    """

    def __init__(
        self,
        runner: Runner,
        log: EventLog,
        task_runner: Actor,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runner = runner
        self._log = log
        self._task_runner = task_runner
        self._clock = clock
        self._unknown: dict[str, float] = {}  # by container, since when

    async def round(self) -> int:
        """Look once.

        Returns:
          The number of containers removed.

        Raises:
          Transient: The runner or the store does not answer.
        """
        listed = [each async for each in self._runner.list()]
        names = {each.name for each in listed}
        self._unknown = {name: since for name, since in self._unknown.items() if name in names}
        places = asyncio.Semaphore(TOGETHER)
        return sum(await asyncio.gather(*(self._judge(each, places) for each in listed)))

    async def _judge(self, listed: ListedRun, places: asyncio.Semaphore) -> bool:
        user, event_id = listed.tags.get("user"), listed.tags.get("event")
        async with places:
            event = None if user is None or event_id is None else await self._log.get(user, event_id)
            if not self._is_orphan(listed.name, event):
                return False
            try:
                if event is not None:
                    await self._task_runner.release(event)
                await self._runner.remove(listed.name)
            except LightningError as error:
                _log.warning("orphan_not_removed", run=listed.name, error=error.message)
                return False
        _log.info("orphan_removed", run=listed.name)
        return True

    def _is_orphan(self, name: str, event: EventDocument | None) -> bool:
        if event is not None:
            self._unknown.pop(name, None)
            return event["state"] != "accepted"
        since = self._unknown.setdefault(name, self._clock())
        return self._clock() - since >= UNKNOWN_SECONDS
