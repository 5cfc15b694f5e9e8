"""What has become of the tasks of a group, as the log tells it."""

import asyncio
from dataclasses import dataclass

from lightning.events import EventDocument
from lightning.groups import (
    NOT_STARTED,
    GroupMetadata,
    MemberResult,
    MemberStatus,
    member_id,
    member_result,
    name_of,
)
from lightning.ids import derived_id
from lightning.log import EventLog
from lightning.tasks import ENDINGS, TaskMetadata


@dataclass(frozen=True, slots=True)
class Member:
    """A task of a group.

    Parameters:
      place: Its place in the group, from 0.
      name: What it is called.
      id: Id of its `worker.task`.
      asked: What is to be done.
      started: Whether it was given to the task runner.
      event: Its event; None before it was started, or once it has expired.
      told: Its `worker.task.result`, once it is over.
    """

    place: int
    name: str
    id: str
    asked: TaskMetadata
    started: bool
    event: EventDocument | None
    told: EventDocument | None

    @property
    def goes_on(self) -> bool:
        """Whether it was started and is not over."""
        return self.event is not None and self.event["state"] == "accepted"

    @property
    def succeeded(self) -> bool:
        """Whether it is over and ended well."""
        return self.told is not None and self.told["metadata"]["status"] == "succeeded"

    @property
    def failed(self) -> bool:
        """Whether it is over and did not end well."""
        return self.started and not self.goes_on and not self.succeeded

    def result(self) -> MemberResult:
        """Say what became of it."""
        told = None if self.told is None else self.told["metadata"]
        return member_result(self.name, self.id, told, otherwise=self._otherwise())

    def _otherwise(self) -> tuple[MemberStatus, str]:
        if not self.started:
            return NOT_STARTED
        if self.goes_on:
            return "cancelled", "It was cancelled with its group."
        return "failed", "Nobody knows any more how it ended."


async def members_of(log: EventLog, event: EventDocument, group: GroupMetadata) -> list[Member]:
    """Read where the tasks of a group stand.

    Parameters:
      log: The event log.
      event: The `worker.group`.
      group: Its metadata.
    """
    read = (_member(log, event, place, task) for place, task in enumerate(group.tasks))
    return await asyncio.gather(*read)


async def _member(log: EventLog, event: EventDocument, place: int, task: TaskMetadata) -> Member:
    task_id, user_id = member_id(event["id"], place), event["userID"]
    found = await log.get(user_id, task_id)
    told = None
    if found is not None and found["state"] != "accepted":
        told = await log.get(user_id, derived_id(task_id, ENDINGS[found["state"]]))
    started = found is not None or task_id in event["outputs"]
    return Member(place, name_of(place, task.name), task_id, task, started, found, told)
