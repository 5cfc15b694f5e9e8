"""How a task ended, in words for people and in one that never changes."""

from datetime import datetime
from typing import Final

from lightning.containers import RunStatus
from lightning.containers.port import Reason
from lightning.domain.run_reports import ReportDocument
from lightning.domain.runs import Outcome, Run, Runs
from lightning.errors import LightningError
from lightning.events import EventDocument
from lightning.ids import run_id
from lightning.metadata import Problem
from lightning.tasks import MAX_OUTPUT_CHARS, Status, TaskResultMetadata

#: What a runner says in a word, as people see it; all else has failed.
_STATUSES: Final[dict[Reason, Status]] = {"timeout": "timed_out", "out_of_memory": "out_of_memory"}

#: What is said of a run whose container was there and is not any more.
GONE: Final = "Its container is gone, with its log."

#: How a run ended whose task was cancelled.
CANCELLED: Final[Outcome] = {
    "status": "cancelled",
    "message": "It was cancelled on request.",
    "exitCode": None,
}


def outcome_of(status: RunStatus) -> Outcome:
    """Say how a container ended."""
    if status.state == "succeeded":
        return {"status": "succeeded", "message": status.message, "exitCode": status.exit_code}
    reason = status.reason or "exit"
    outcome: Outcome = {
        "status": _STATUSES.get(reason, "failed"),
        "message": status.message,
        "exitCode": status.exit_code,
    }
    return outcome if reason == "exit" else {**outcome, "error": _problem(reason, status.message)}


def refusal(error: LightningError) -> Outcome:
    """Say that a task asks for what cannot be had."""
    return {
        "status": "failed",
        "message": error.message,
        "exitCode": None,
        "error": _problem(error.code, error.message),
    }


async def result_of(runs: Runs, event: EventDocument, run: Run, report: ReportDocument) -> TaskResultMetadata:
    """Tell how the run of a task ended, with the end of what it printed."""
    document = run.document
    outcome = document["outcome"]
    if outcome is None:
        raise ValueError("a run has a result when it is over")
    chars = document["log"]["chars"]
    begin = max(0, chars - MAX_OUTPUT_CHARS)
    started, ended = document["startedAt"], document["endedAt"]
    error = outcome.get("error")
    workspace = document.get("workspace")
    return TaskResultMetadata(
        taskID=event["id"],
        runID=document["id"],
        status=outcome["status"],
        message=outcome["message"],
        exitCode=outcome["exitCode"],
        output=await runs.log(document, begin, MAX_OUTPUT_CHARS),
        outputFrom=begin,
        result=None if report["result"] is None else report["result"]["output"],
        waitedSeconds=None if started is None else _seconds(_moment(event["recordedAt"]), started),
        ranSeconds=None if started is None or ended is None else _seconds(started, ended),
        error=None if error is None else Problem(**error),
        repo=None if workspace is None else workspace["repo"],
        commit=None if workspace is None else workspace.get("commit"),
    )


def failure(event: EventDocument, error: LightningError) -> TaskResultMetadata:
    """Tell that a task was given up."""
    return TaskResultMetadata(
        taskID=event["id"],
        runID=run_id(event["id"]),
        status="failed",
        message=error.message,
        error=Problem(code=error.code, message=error.message),
    )


def _problem(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _seconds(begin: float, end: float) -> float:
    return round(max(0.0, end - begin), 3)
