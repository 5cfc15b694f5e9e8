"""What open streams are shown of a run while it goes on: best effort, since all of it is noted elsewhere."""

import time
from datetime import datetime
from typing import Final

from lightning.domain.run_reports import Progress
from lightning.domain.runs import Run
from lightning.live import Notifier, RunProgress, RunStage

#: Progress that was said longer ago was shown by a look before.
FRESH_SECONDS: Final = 10.0


class LiveRuns:
    """Shows runs.

    Parameters:
      notifier: Tells the ingress; None shows nothing.
    """

    def __init__(self, notifier: Notifier | None) -> None:
        self._notifier = notifier

    def starting(self, run: Run) -> None:
        """Show that the container of a run is about to be started."""
        if self._notifier is not None:
            run_id, task = run.document["id"], run.document["eventID"]
            stage = RunStage(run=run_id, task=task, status="starting")
            self._notifier.stage(run.document["userID"], stage)

    def stage(self, before: Run, after: Run) -> None:
        """Show that a run is running, if that is new."""
        stage = after.document["stage"]
        if self._notifier is None or stage != "running" or stage == before.document["stage"]:
            return
        run, task = after.document["id"], after.document["eventID"]
        self._notifier.stage(after.document["userID"], RunStage(run=run, task=task, status=stage))

    def printed(self, run: Run) -> None:
        """Show what a version of a run has brought to its log."""
        if self._notifier is not None and run.added:
            document = run.document
            offset = document["log"]["chars"] - len(run.added)
            names = document["userID"], document["id"], document["eventID"]
            self._notifier.lines(*names, offset, run.added)

    def progress(self, run: Run, said: list[Progress]) -> None:
        """Show how far a run has come, for streams of other ingresses than the one it told."""
        if self._notifier is None or not said or time.time() - _moment(said[-1]["at"]) > FRESH_SECONDS:
            return
        run_id, task = run.document["id"], run.document["eventID"]
        self._notifier.progress(run.document["userID"], RunProgress(run=run_id, task=task, **said[-1]))

    async def shown(self, run: Run, *, timeout_seconds: float) -> None:
        """Wait until what a run printed is on its way, or so long: nothing of it comes behind its result."""
        if self._notifier is not None:
            await self._notifier.delivered(run.document["id"], timeout_seconds=timeout_seconds)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
