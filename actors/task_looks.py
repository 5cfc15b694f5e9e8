"""Looks at runs: where they stand, and what they have printed since, noted and shown."""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import structlog

from actors.task_end import tell_start
from actors.task_live import LiveRuns
from actors.task_result import GONE
from lightning.containers import Runner, RunStatus
from lightning.domain.run_reports import RunReports
from lightning.domain.run_tokens import without_tokens
from lightning.domain.runs import Run, Runs
from lightning.errors import LightningError, NotFound, PreconditionFailed, Transient

#: Bytes of a log that one look takes over at most, portion by portion; the next look goes on.
LOOK_BYTES: Final = 512 * 1024

#: Runs that a process watches at a time; it has as many threads more for them.
WATCHED_RUNS: Final = 16

#: A run that is told to stop is waited for so long at most.
STOP_SECONDS: Final = 5.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Looks:
    """How often a run is looked at.

    Parameters:
      first_seconds: The wait after its start.
      most_seconds: The longest wait.
      share: Between them, the wait as a share of the time that it has taken.
      patience_seconds: One that has just begun is not let out of sight for so long: its first line comes at
        once, and short runs need no further look. 0 where its runner does not tell of news.
      watched: So many of them at a time, since each holds a thread.
    """

    first_seconds: float = 0.05
    most_seconds: float = 1.0
    share: float = 0.1
    patience_seconds: float = 1.0
    watched: int = WATCHED_RUNS

    def wait(self, seconds: float) -> float:
        """Give the wait before the next look at what has taken so long."""
        return min(max(self.first_seconds, seconds * self.share), self.most_seconds)


class RunLooks:
    """Looks at runs.

    Parameters:
      runs: Where runs are written down.
      reports: What runs say of themselves.
      runner: Where containers run.
      live: Shows what is new.
    """

    def __init__(self, runs: Runs, reports: RunReports, runner: Runner, live: LiveRuns) -> None:
        self._runs = runs
        self._reports = reports
        self._runner = runner
        self._live = live

    async def note_start(self, run: Run, *, asked_at: float, at_once: bool) -> Run:
        """Note that a run's container was started, and whether its command runs if that is known at once.

        Parameters:
          run: The run.
          asked_at: When its container was asked for.
          at_once: Whether to look.
        """
        status = RunStatus("pending")
        if at_once:
            with contextlib.suppress(NotFound):
                status = await self._runner.status(run.name)
        # its end is found by a look, with its log
        return await self._noted(run, status, ended_at=None, asked_at=asked_at)

    async def look(self, run: Run) -> tuple[Run, RunStatus]:
        """Note where a run stands, and take over what it has printed since."""
        try:
            status = await self._runner.status(run.name)
        except NotFound:
            return run, RunStatus("failed", "launcher_lost", message=GONE)
        looked = await self._noted(run, status, ended_at=status.ended_at)
        return await self._collect(looked, ended=status.ended), status

    async def _noted(
        self, run: Run, status: RunStatus, *, ended_at: float | None, asked_at: float | None = None
    ) -> Run:
        stage = "starting" if status.state == "pending" else "running"
        noted = await self._runs.advance(
            run,
            stage=stage,
            begun=True,
            started_at=status.started_at,
            ended_at=ended_at,
            asked_at=asked_at,
        )
        tell_start(run.document, noted.document)
        self._live.stage(run, noted)
        return noted

    async def latest_news(self, run: Run, status: RunStatus) -> float:
        """Tell since when nothing was heard; who has said what came of it is about to end."""
        report = await self._reports.read(run.document)
        self._live.progress(run, report["progress"])
        if (result := report["result"]) is not None:
            return datetime.fromisoformat(result["at"].replace("Z", "+00:00")).timestamp()
        return status.started_at or time.time()

    async def halt(self, run: Run) -> Run:
        """Stop a run that is not over, and note what it came to: it may be undone only once it has stopped.

        Raises:
          Transient: Somebody else is at it, or the store does not answer.
        """
        if run.document["outcome"] is not None:
            return run
        deadline = time.monotonic() + STOP_SECONDS
        try:
            await self._runner.stop(run.name)
            while True:
                await self._runner.news(run.name, seconds=STOP_SECONDS)
                run, status = await self.look(run)
                if status.ended or time.monotonic() > deadline:
                    return run
                await asyncio.sleep(0.1)
        except PreconditionFailed:
            raise Transient("somebody else has noted something of the run", retry_after=1.0) from None
        except LightningError as error:
            _log.info("log_not_collected", run=run.name, error=error.message)
            return run

    async def remove(self, run: Run) -> None:
        """Remove a container whose outcome is noted; the clock's sweep removes what stays."""
        try:
            await self._runner.remove(run.name)
        except LightningError as error:
            _log.warning("container_not_removed", run=run.name, error=error.message)

    async def _collect(self, run: Run, *, ended: bool) -> Run:
        taken = 0
        while ended or taken < LOOK_BYTES:
            begun = run.document["log"]["bytes"]
            portion = await self._runner.logs(run.name, begun)
            if not portion.data:
                break
            taken += len(portion.data)
            printed = without_tokens(portion.data)
            run = await self._runs.append(run, printed, portion.next)
            is_cut = run.document["log"]["bytes"] == begun  # nothing but a character that is cut off
            if is_cut and ended:
                run = await self._runs.append(run, printed, portion.next, last=True)
            self._live.printed(run)
            if is_cut:
                break
        return run
