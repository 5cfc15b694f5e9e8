"""Tells operators how a run ended: one record, and an event of its own where records are sent to."""

import structlog

from lightning.events import EventDocument
from lightning.tasks import TaskMetadata, TaskResultMetadata

_log = structlog.get_logger(__name__)


def tell_end(event: EventDocument, metadata: TaskMetadata, result: TaskResultMetadata) -> None:
    """Tell of a run that is over; once more if its step is repeated.

    Parameters:
      event: Its task.
      metadata: What the task asked for.
      result: How it ended.
    """
    _log.info(
        "run_ended",
        event_id=event["id"],
        user=event["userID"],
        run=result.runID,
        agent=metadata.agent or metadata.image or "",
        run_status=result.status,
        run_reason=None if result.error is None else result.error.code,
        waited_seconds=result.waitedSeconds,
        ran_seconds=result.ranSeconds,
    )
