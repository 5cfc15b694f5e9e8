"""What tells that an event was cancelled, where somebody waits for how it ends."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from lightning.events import Draft, EventDocument, now_text
from lightning.groups import (
    NOT_STARTED,
    GroupResultMetadata,
    MemberResult,
    MemberStatus,
    member_id,
    member_result,
    name_of,
)
from lightning.ids import derived_id, run_id
from lightning.storage import Stored
from lightning.tasks import ENDINGS, ROLLBACK, TaskResultMetadata
from lightning.telemetry import carrier

#: The error of what somebody cancelled.
CANCELLED: Final = {"code": "cancelled", "message": "cancelled on request"}


def last_words(
    event: EventDocument,
    *,
    begun: bool = False,
    why: Mapping[str, str] | None = None,
    known: Mapping[str, Stored] | None = None,
) -> Draft | None:
    """Give what follows from an event that is cancelled; most simply end.

    Parameters:
      event: The event.
      begun: Whether it had begun, where that is known.
      why: The error that it ends with.
      known: Where it is a group, the documents of `told_of` that are there.
    """
    if event["type"] == "worker.group":
        return _draft(event, "worker.group.result", _group(event, known or {}))
    if event["type"] != "worker.task":
        return None
    reason = "The task was cancelled on request" if why is None or why == CANCELLED else why["message"]
    undone = begun and event["metadata"].get("rollback") is not None
    result = TaskResultMetadata(
        taskID=event["id"],
        runID=run_id(event["id"]),
        status="cancelled",
        message=f"{reason}; its container is stopped.",
        rollbackID=derived_id(event["id"], ROLLBACK) if undone else None,
    )
    return _draft(event, "worker.task.result", result)


def told_of(event: EventDocument) -> list[str]:
    """Name the documents that tell what became of the tasks of a group by now."""
    if event["type"] != "worker.group":
        return []
    tasks = [member_id(event["id"], place) for place in range(len(event["metadata"]["tasks"]))]
    return [each for task in tasks for each in (task, *_endings(task))]


def _endings(task: str) -> list[str]:
    return [derived_id(task, name) for name in ENDINGS.values()]


def _group(event: EventDocument, known: Mapping[str, Stored]) -> GroupResultMetadata:
    results = list[MemberResult]()
    for place, task in enumerate(event["metadata"]["tasks"]):
        task_id = member_id(event["id"], place)
        told = next((known[each].body["metadata"] for each in _endings(task_id) if each in known), None)
        started: tuple[MemberStatus, str] = ("cancelled", "It was cancelled with its group.")
        otherwise = started if task_id in known else NOT_STARTED
        results.append(member_result(name_of(place, task.get("name")), task_id, told, otherwise=otherwise))
    message = "The group was cancelled on request; its tasks are stopped, and what they did stays."
    return GroupResultMetadata(groupID=event["id"], status="cancelled", message=message, results=results)


def _draft(event: EventDocument, kind: str, result: BaseModel) -> Draft:
    return Draft(
        id=derived_id(event["id"], ENDINGS["cancelled"]),
        type=kind,
        source="lightning.tasks",
        metadata=result.model_dump(mode="json", exclude_none=True),
        timestamp=now_text(),
        trace=carrier.current() or event["trace"],
        despite_cancel=True,
    )
