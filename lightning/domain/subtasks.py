"""What a run may start: tasks that have no more than it has itself."""

from collections.abc import Mapping
from typing import Any, Final

from lightning.errors import Conflict, Forbidden, InvalidEvent
from lightning.events import EventDocument
from lightning.log import EventLog
from lightning.tasks import TaskMetadata

#: So many times may a run start a run that starts a run.
MAX_DEPTH: Final = 2

#: Who speaks in an event that a run started. What is posted has no cause, and no other event is told so.
SOURCE: Final = "lightning.runs.tasks"


def is_subtask(event: EventDocument) -> bool:
    """Tell whether a run started an event."""
    return event["cause"] is not None and event["source"] == SOURCE


async def check_depth(log: EventLog, task: EventDocument) -> None:
    """Check that a run may start further ones.

    Raises:
      Conflict: It was started by one that was started by one (``too_deep``).
    """
    depth, at = 0, task
    while at["cause"] is not None:
        depth += is_subtask(at)
        if depth >= MAX_DEPTH:
            raise Conflict("a run that is started as a part of a part starts no tasks", code="too_deep")
        above = await log.get(at["userID"], at["cause"])
        if above is None:  # it has expired
            return
        at = above


def within(parent: Mapping[str, Any], repo: str | None, task: TaskMetadata, where: str) -> TaskMetadata:
    """Give a task no more than the run has that starts it; what it does not say, it inherits.

    Parameters:
      parent: The metadata of the task of the run.
      repo: Id of the repository that the run works on.
      task: What the run asks for.
      where: JSON pointer to it.

    Raises:
      Forbidden: It asks for the network, which the run has not (``network_not_allowed``), or for another
        repository than the run's (``repo_not_allowed``).
      InvalidEvent: Something is to follow from it (``subtask_follow_ups``).
    """
    if task.onSuccess or task.onFailure:
        message = "nothing follows from a task of a run but its result; the run reads that, and goes on"
        raise InvalidEvent(message, code="subtask_follow_ups", pointer=where)
    changes: dict[str, Any] = {}
    if parent.get("network") == "none":
        if task.network == "full" and "network" in task.model_fields_set:
            message = "the run has no network, and so its tasks have none; leave network out"
            raise Forbidden(message, code="network_not_allowed", pointer=f"{where}/network")
        changes["network"] = "none"
    if task.repo is not None:
        if repo is None or task.repo not in {repo, parent.get("repo")}:
            message = "a task of a run works on the repository of the run, or on none"
            raise Forbidden(message, code="repo_not_allowed", pointer=f"{where}/repo")
        changes["repo"] = repo
    if task.rollback is not None:
        undoing = within(parent, repo, TaskMetadata.model_validate(task.rollback), f"{where}/rollback")
        changes["rollback"] = undoing.model_dump(mode="json", exclude_none=True)
    return task.model_copy(update=changes)
