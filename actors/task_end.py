"""Tells operators how a run began and ended: metrics, and a record that is an event where it is sent to."""

import structlog
from opentelemetry.metrics import get_meter

from lightning.domain.runs import RunDocument
from lightning.events import EventDocument
from lightning.tasks import TaskMetadata, TaskResultMetadata
from lightning.telemetry import names

_log = structlog.get_logger(__name__)
_meter = get_meter(__name__)
_waited = _meter.create_histogram(
    names.RUN_WAITED, unit="s", description="From the recording of a task to the start of its command"
)
_starting = _meter.create_histogram(
    names.RUN_START, unit="s", description="From asking for a container to the start of its command"
)
_ran = _meter.create_histogram(names.RUN_RAN, unit="s", description="What commands in containers took")


def tell_start(before: RunDocument, now: RunDocument) -> None:
    """Tell how long a container took to start, once it is known that its command began.

    Parameters:
      before: The run before that was noted.
      now: The run since.
    """
    began, asked = now["startedAt"], now.get("askedAt")
    if before["startedAt"] is None and began is not None and asked is not None:
        _starting.record(max(0.0, began - asked), {names.AGENT: now["agent"] or now["image"] or ""})


def tell_end(event: EventDocument, metadata: TaskMetadata, result: TaskResultMetadata) -> None:
    """Tell of a run that is over; once more if its step is repeated.

    Parameters:
      event: Its task.
      metadata: What the task asked for.
      result: How it ended.
    """
    agent = metadata.agent or metadata.image or ""
    kind = {names.AGENT: agent, names.RUN_STATUS: result.status}
    for seconds, histogram in ((result.waitedSeconds, _waited), (result.ranSeconds, _ran)):
        if seconds is not None:
            histogram.record(seconds, kind)
    _log.info(
        "run_ended",
        event_id=event["id"],
        user=event["userID"],
        run=result.runID,
        agent=agent,
        run_status=result.status,
        run_reason=None if result.error is None else result.error.code,
        waited_seconds=result.waitedSeconds,
        ran_seconds=result.ranSeconds,
    )
