"""Runs the tasks of a group side by side, joins them, and has them undone when one fails.

Nothing is held while they go on, and nothing is kept besides the log: each look reads where the tasks stand
and says what follows. The end of a task has its group looked at (`actors.task_joins`).
"""

from collections.abc import Sequence
from typing import Final

from actors import group_result
from actors.actor import Actor
from actors.allowance import limits_of
from actors.group_members import Member, members_of
from actors.group_undo import GroupUndo
from actors.outcome import Again, Done, Outcome, Output
from actors.task_follow import SOURCE, follow_ups
from lightning.crash import CrashPoint, no_crash
from lightning.domain.budgets import Budgets
from lightning.domain.runs import Runs
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.groups import GroupMetadata, member_output
from lightning.log import Dispatch, EventLog
from lightning.log.interventions import GROUP_FAILED
from lightning.metadata import Problem

RESULT: Final = "worker.group.result"

#: Where the end of a task has its group looked at, this is for what was lost.
LOOK_SECONDS: Final = 60.0

#: Nothing tells that a container has stopped; it takes no longer than a few seconds.
SOON_SECONDS: Final = 0.25


class TaskGroup(Actor):
    """The actor of groups.

    Parameters:
      log: Where the tasks stand.
      dispatch: Cancels tasks.
      runs: Tells whether cancelled tasks have stopped.
      budgets: What groups may spend.
      crash: Told of the points between the cancelling of tasks and what follows.
    """

    def __init__(
        self, log: EventLog, dispatch: Dispatch, runs: Runs, budgets: Budgets, *, crash: CrashPoint = no_crash
    ) -> None:
        self._log = log
        self._dispatch = dispatch
        self._undo = GroupUndo(log, runs)
        self._budgets = budgets
        self._crash = crash

    async def handle(self, event: EventDocument, metadata: GroupMetadata) -> Outcome:
        """Take a group one step further; see `Actor.handle`."""
        if metadata.budget is not None:
            await self._budgets.open(event, limits_of(metadata.budget))
        members = await members_of(self._log, event, metadata)
        if any(each.failed for each in members):
            return await self._fail(event, metadata, members)
        going = sum(each.goes_on for each in members)
        left = [each for each in members if not each.started]
        if not going and not left:
            result = group_result.succeeded(event["id"], members)
            return Done([Output("result", RESULT, result, SOURCE), *follow_ups(metadata, "succeeded")])
        started = left[: max(0, metadata.atMost - going)]
        return Again(LOOK_SECONDS, outputs=[_start(each) for each in started])

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Tell that the group was given up; its tasks are cancelled when that is recorded."""
        metadata = GroupMetadata.model_validate(event["metadata"])
        members = await members_of(self._log, event, metadata)
        problem = Problem(code=error.code, message=error.message)
        result = group_result.given_up(event["id"], members, problem)
        return [Output("failure", RESULT, result, SOURCE), *follow_ups(metadata, "failed")]

    async def release(self, event: EventDocument) -> None:
        """Cancel the tasks of a group that was given up; see `Actor.release`."""
        if event["state"] == "dead":
            metadata = GroupMetadata.model_validate(event["metadata"])
            await self._cancel(event, await members_of(self._log, event, metadata))

    async def _fail(
        self, event: EventDocument, metadata: GroupMetadata, members: Sequence[Member]
    ) -> Outcome:
        """Start nothing more, stop what goes on, and have undone what was done, the last first."""
        if any(each.goes_on for each in members):
            if not metadata.cancelOthers:
                return Again(LOOK_SECONDS)
            await self._cancel(event, members)
            self._crash("group:cancelled")
            members = await members_of(self._log, event, metadata)
            if any(each.goes_on for each in members):  # a read may be stale
                return Again(SOON_SECONDS)
        undoing = await self._undo.look(event, members)
        if undoing.next is not None:
            return Again(LOOK_SECONDS, outputs=[undoing.next])
        if undoing.waits or undoing.halts:
            return Again(SOON_SECONDS if undoing.halts else LOOK_SECONDS)
        result = group_result.failed(event["id"], members, undoing.done)
        return Done([Output("result", RESULT, result, SOURCE), *follow_ups(metadata, "failed")])

    async def _cancel(self, event: EventDocument, members: Sequence[Member]) -> None:
        heads = [each.id for each in members if each.goes_on]
        if heads:
            await self._dispatch.cancel_branches(event, heads, GROUP_FAILED)


def _start(member: Member) -> Output:
    return Output(member_output(member.place), "worker.task", member.asked, SOURCE)
