"""Undoes what the tasks of a group did when one of them fails: in reverse order, one after another."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from actors.group_members import Member
from actors.outcome import Output
from actors.task_follow import SOURCE, rollback_of
from lightning.domain.runs import Runs
from lightning.events import EventDocument
from lightning.groups import undo_output
from lightning.ids import derived_id
from lightning.log import EventLog
from lightning.tasks import ENDINGS, ROLLBACK, Status

#: A container of a cancelled task is waited for no longer than this.
HALT_SECONDS: Final = 120.0


@dataclass(slots=True)
class Undoing:
    """How far the undoing has come.

    Parameters:
      done: By the id of the task: what undid it, and how that ended.
      next: What follows now, if anything does.
      waits: Whether the end of a task is waited for.
      halts: Whether a container is still being stopped, which nothing tells.
    """

    done: dict[str, tuple[str, Status]] = field(default_factory=dict[str, tuple[str, Status]])
    next: Output | None = None
    waits: bool = False
    halts: bool = False


class GroupUndo:
    """Finds what is to be undone next.

    Parameters:
      log: Where everything stands.
      runs: Tells whether cancelled tasks have stopped.
    """

    def __init__(self, log: EventLog, runs: Runs) -> None:
        self._log = log
        self._runs = runs

    async def look(self, event: EventDocument, members: Sequence[Member]) -> Undoing:
        """Tell how far the undoing of a group has come whose tasks are all over.

        Those that failed or were cancelled are undone by the task runner, and come first: they ended last.
        The log says in which order the others ended.
        """
        undoing = Undoing()
        for each in members:
            if each.failed:
                await self._look_at_failed(each, undoing)
        if undoing.waits or undoing.halts:
            return undoing
        ended = [(each.told["seq"], each) for each in members if each.told is not None and each.succeeded]
        for _, each in sorted(ended, key=lambda one: one[0], reverse=True):
            if each.asked.rollback is None:
                continue
            name = undo_output(each.place)
            task_id = derived_id(event["id"], name)
            if await self._look_at(event, each, task_id, undoing, begun=task_id in event["outputs"]):
                continue
            if not undoing.waits:
                undoing.next = Output(name, "worker.task", each.asked.rollback, SOURCE)
            break
        return undoing

    async def _look_at_failed(self, member: Member, undoing: Undoing) -> None:
        event = member.event
        if event is None:
            return
        expected = member.told is not None and "rollbackID" in member.told["metadata"]
        if event["state"] == "cancelled" and not _is_long_ago(member):
            run = await self._runs.of_task(event["userID"], member.id)
            if run is not None and run.document["outcome"] is None:
                undoing.halts = True
                return
            expected = expected or (run is not None and bool(rollback_of(event, run, cancelled=True)))
        if member.asked.rollback is None:
            return
        task_id = derived_id(member.id, ROLLBACK)
        if not await self._look_at(event, member, task_id, undoing, begun=False) and not undoing.waits:
            undoing.halts = undoing.halts or (expected and not _is_long_ago(member))

    async def _look_at(
        self, cause: EventDocument, member: Member, task_id: str, undoing: Undoing, *, begun: bool
    ) -> bool:
        """Note how a task ended that undoes another; tell whether it is over."""
        found = await self._log.get(cause["userID"], task_id)
        if found is None:
            if begun:  # it has expired
                undoing.done[member.id] = (task_id, "failed")
            return begun
        if found["state"] == "accepted":
            undoing.waits = True
            return False
        told = await self._log.get(cause["userID"], derived_id(task_id, ENDINGS[found["state"]]))
        undoing.done[member.id] = (task_id, "failed" if told is None else told["metadata"]["status"])
        return True


def _is_long_ago(member: Member) -> bool:
    if member.told is None:
        return True
    ended = datetime.fromisoformat(member.told["recordedAt"].replace("Z", "+00:00")).timestamp()
    return time.time() - ended > HALT_SECONDS
