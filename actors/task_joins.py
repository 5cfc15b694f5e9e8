"""Tells groups that one of their tasks is over, so that they need not keep looking."""

import time
from typing import Final

from lightning.events import EventDocument
from lightning.ids import derived_id
from lightning.log import Dispatch, EventLog
from lightning.tasks import ROLLBACK

_ENDS: Final = "worker.task.result"


class TaskJoins:
    """Has groups looked at.

    Parameters:
      log: Where the groups are.
      dispatch: Announces them.
    """

    def __init__(self, log: EventLog, dispatch: Dispatch) -> None:
        self._log = log
        self._dispatch = dispatch

    async def told(self, event: EventDocument) -> bool:
        """Have the group looked at that waits for what an event tells, if one does.

        Returns:
          Whether it is; else somebody is looking right now, who may have begun before: tell again soon.

        Raises:
          Transient: The store does not answer.
        """
        if event["type"] != _ENDS or event["root"] == event["cause"]:
            return True
        group = await self._group_of(event)
        if group is None or group["state"] != "accepted":
            return True
        claim = group["claim"]
        if claim is not None and claim["until"] > time.time():
            return False
        await self._dispatch.hasten(group["userID"], group["id"])
        return True

    async def _group_of(self, result: EventDocument) -> EventDocument | None:
        """Find the group of the task that is over, or of the one that this task undoes."""
        task = await self._cause(result)
        above = None if task is None else await self._cause(task)
        if task is not None and above is not None and task["id"] == derived_id(above["id"], ROLLBACK):
            above = await self._cause(above)
        return above if above is not None and above["type"] == "worker.group" else None

    async def _cause(self, event: EventDocument) -> EventDocument | None:
        return None if event["cause"] is None else await self._log.get(event["userID"], event["cause"])
