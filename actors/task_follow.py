"""What follows from a task besides its result: what its user asked for, and what undoes it."""

from typing import Final

from actors.outcome import Output
from actors.task_result import GONE
from lightning.domain.runs import Run
from lightning.events import EventDocument
from lightning.groups import GroupMetadata
from lightning.tasks import ROLLBACK, Status, TaskMetadata

SOURCE: Final = "lightning.tasks"


def follow_ups(task: TaskMetadata | GroupMetadata, status: Status) -> list[Output]:
    """Give the events that a user wanted to follow from such an end; none follows a cancellation."""
    if status == "cancelled":
        return []
    name, wanted = ("onSuccess", task.onSuccess) if status == "succeeded" else ("onFailure", task.onFailure)
    return [
        Output(f"{name}.{number}", each.type, each.metadata, SOURCE) for number, each in enumerate(wanted)
    ]


def rollback_of(event: EventDocument, run: Run, *, cancelled: bool = False) -> list[Output]:
    """Give the task that undoes another one, if that has one, began and did not succeed.

    Parameters:
      event: The task.
      run: Its run.
      cancelled: Whether it was cancelled, whatever became of its run.
    """
    rollback, outcome = event["metadata"].get("rollback"), run.document["outcome"]
    vanished = outcome is not None and outcome["message"] == GONE
    given_up = outcome is None and run.document["begun"]  # nobody knows what it came to
    began = run.document["startedAt"] is not None or vanished or given_up
    succeeded = outcome is not None and outcome["status"] == "succeeded"
    if rollback is None or not began or (succeeded and not cancelled):
        return []
    return [Output(ROLLBACK, "worker.task", rollback, SOURCE)]
