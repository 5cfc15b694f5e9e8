"""What tells that an event was cancelled, where somebody waits for how it ends."""

from lightning.events import Draft, EventDocument, now_text
from lightning.ids import derived_id, run_id
from lightning.tasks import ROLLBACK, TaskResultMetadata
from lightning.telemetry import carrier


def last_words(event: EventDocument, *, begun: bool = False) -> Draft | None:
    """Give what follows from an event that is cancelled; most simply end.

    Parameters:
      event: The event.
      begun: Whether it had begun, where that is known.
    """
    if event["type"] != "worker.task":
        return None
    undone = begun and event["metadata"].get("rollback") is not None
    result = TaskResultMetadata(
        taskID=event["id"],
        runID=run_id(event["id"]),
        status="cancelled",
        message="The task was cancelled on request; its container is stopped.",
        rollbackID=derived_id(event["id"], ROLLBACK) if undone else None,
    )
    return Draft(
        id=derived_id(event["id"], "cancelled"),
        type="worker.task.result",
        source="lightning.tasks",
        metadata=result.model_dump(mode="json", exclude_none=True),
        timestamp=now_text(),
        trace=carrier.current() or event["trace"],
        despite_cancel=True,
    )
