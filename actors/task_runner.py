"""Runs tasks in containers: start, look again and again, collect the log, clean up, tell how it ended.

Nothing is held while a run goes on: every look is one delivery, and says when the next one comes. Each step
is written down before the next, so that whoever goes on after a crash starts no container twice and loses
no outcome.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import structlog
from opentelemetry import trace

from actors.actor import Actor
from actors.allowance import Allowance, Allowed
from actors.outcome import Again, Done, Outcome, Output
from actors.task_end import tell_end
from actors.task_follow import SOURCE, follow_ups, rollback_of
from actors.task_live import LiveRuns
from actors.task_looks import Looks, RunLooks
from actors.task_result import CANCELLED, failure, outcome_of, refusal, result_of
from actors.task_room import TaskRoom
from actors.task_spec import AgentCommand, RunApi, spec_of
from actors.task_workspace import REFUSALS, TaskWorkspace
from lightning.containers import Runner, RunStatus
from lightning.containers.port import TOO_LATE
from lightning.crash import CrashPoint, no_crash
from lightning.domain.budgets import Budgets
from lightning.domain.repositories import Repositories
from lightning.domain.run_reports import RunReports
from lightning.domain.runs import Run, Runs
from lightning.errors import LightningError, Permanent, Transient
from lightning.events import Draft, EventDocument
from lightning.ids import derived_id
from lightning.live import Notifier
from lightning.tasks import ENDINGS, ROLLBACK, TaskMetadata
from lightning.telemetry import names

#: What a run printed last may delay its result by so much, so that it is shown before.
SHOWN_SECONDS: Final = 0.1

#: A task waits so long for a runner that has no room.
ROOM_SECONDS: Final = 3600.0

#: Answers of a runner after which the same start may work later, by itself.
_FULL: Final = frozenset({"runner_quota", "runner_throttled", TOO_LATE})

#: Refusals that are about what the task asks for, not about the platform.
_ASKED_WRONGLY: Final = REFUSALS | {"run_refused", "image_missing", "network_unsupported", "budget_exhausted"}

_log = structlog.get_logger(__name__)
_tracer = trace.get_tracer(__name__)


class TaskRunner(Actor):
    """The task runner.

    Parameters:
      runs: Where runs are written down.
      reports: What runs say of themselves.
      runner: Where containers run.
      agents: How an agent is started in them.
      follow: Records what follows from a task that is over already, once (`Dispatch.follow_ended`).
      api: How runs reach the run API; without it they reach none.
      notifier: Shows users what is new of a run; None shows nothing before its end.
      looks: How often a run is looked at.
      room: Runs at a time on this runner; None leaves it to the runner. A user has three quarters of it.
      budgets: What tasks may spend.
      repositories: What tasks may work on.
      crash: Told of every point between start, record, collect and removal.
    """

    def __init__(
        self,
        runs: Runs,
        reports: RunReports,
        runner: Runner,
        agents: AgentCommand,
        follow: Callable[[EventDocument, Sequence[Draft]], Awaitable[None]],
        *,
        api: RunApi | None = None,
        notifier: Notifier | None = None,
        looks: Looks | None = None,
        room: int | None = None,
        budgets: Budgets,
        repositories: Repositories,
        crash: CrashPoint = no_crash,
    ) -> None:
        self._runs = runs
        self._reports = reports
        self._runner = runner
        self._agents = agents
        self._follow = follow
        self._api = api
        self._live = LiveRuns(notifier)
        self._sight = RunLooks(runs, reports, runner, self._live)
        self._looks = looks or Looks()
        self._watching = 0
        self._room = TaskRoom(runner, room)
        self._allowance = Allowance(budgets)
        self._workspace = TaskWorkspace(runs, repositories)
        self._crash = crash

    async def handle(self, event: EventDocument, metadata: TaskMetadata) -> Outcome:
        """Take a task one step further; see `Actor.handle`."""
        run = await self._runs.open(event)
        if run.document["outcome"] is None:
            try:
                allowed = await self._allowance.of(event, metadata)
                if run.document["begun"]:
                    run, status, allowed = await self._look_within(event, run, allowed)
                else:
                    allowed.check()
                    async with self._room.of(run) as has_room:
                        if not has_room:
                            return self._wait_for_room(event)
                        run = await self._workspace.begin(event, metadata, run)
                        self._crash("run:based")
                        run = await self._start(event, metadata, run)
                    run, status, allowed = await self._watch(event, run, allowed)
            except Permanent as error:
                if error.code not in _ASKED_WRONGLY:
                    raise
                run = await self._runs.conclude(run, refusal(error))
            except Transient as error:
                if error.code not in _FULL:
                    raise
                return self._wait_for_room(event, error)
            else:
                if not status.ended:
                    wait = self._looks.wait(time.time() - await self._sight.latest_news(run, status))
                    return Again(allowed.at_most(wait))
                run = await self._runs.conclude(run, outcome_of(status))
            self._crash("run:collected")
            await self._live.shown(run, timeout_seconds=SHOWN_SECONDS)
        return await self._over(event, metadata, run)

    async def _over(self, event: EventDocument, metadata: TaskMetadata, run: Run) -> Done:
        run = await self._workspace.settle(run)
        undoing = rollback_of(event, run)
        if not undoing:
            # else the clock's sweep removes it: if the task is cancelled right now, that finds by it what is
            # still to be undone
            await self._sight.remove(run)
            self._crash("run:removed")
        result = await result_of(self._runs, event, run, await self._reports.read(run.document))
        tell_end(event, metadata, result)
        if undoing:
            result.rollbackID = derived_id(event["id"], ROLLBACK)
        told = Output(ENDINGS["done"], "worker.task.result", result, SOURCE)
        return Done([told, *follow_ups(metadata, result.status), *undoing])

    async def on_dead(self, event: EventDocument, error: LightningError) -> list[Output]:
        """Tell that the platform could not run it, and why; undo it if it may have begun."""
        run = await self._runs.of_task(event["userID"], event["id"])
        undoing = list[Output]()
        if run is not None and event["metadata"].get("rollback") is not None:
            run = await self._sight.halt(run)
            undoing = rollback_of(event, run)
        told = failure(event, error)
        if undoing:
            told.rollbackID = derived_id(event["id"], ROLLBACK)
        result = Output(ENDINGS["dead"], "worker.task.result", told, SOURCE)
        return [result, *follow_ups(TaskMetadata.model_validate(event["metadata"]), "failed"), *undoing]

    async def release(self, event: EventDocument) -> None:
        """Stop and remove the container of a task that was cancelled or given up; see `Actor.release`."""
        run = await self._runs.of_task(event["userID"], event["id"])
        if run is None:
            return
        run = await self._sight.halt(run)
        self._crash("run:halted")
        cancelled = event["state"] == "cancelled"
        if cancelled:
            run = await self._workspace.settle(await self._runs.conclude(run, CANCELLED))
        if undoing := rollback_of(event, run, cancelled=cancelled):
            await self._follow(event, [each.draft(event, despite_cancel=cancelled) for each in undoing])
        # its container last: for as long as it is there, the clock's sweep comes back to what was cut off
        self._crash("run:followed")
        await self._runner.remove(run.name)
        self._crash("run:let_go")
        if run.document["outcome"] is None:
            await self._runs.reset(run)

    def _wait_for_room(self, event: EventDocument, error: Transient | None = None) -> Again:
        """Wait without an attempt: that others run is nobody's failure."""
        waited = time.time() - datetime.fromisoformat(event["recordedAt"].replace("Z", "+00:00")).timestamp()
        if waited > ROOM_SECONDS:
            why = error.message if error else "Other runs take all the room that there is."
            message = (
                f"There was no room for the run in {ROOM_SECONDS / 3600:.0f} h, so it was given up: {why}"
            )
            raise Permanent(message, code="runner_quota")
        least = 0.0 if error is None else min(error.retry_after or 5.0, 60.0)
        return Again(max(least, min(max(0.25, waited * 0.25), 10.0)), keep_attempts=True)

    async def _start(self, event: EventDocument, metadata: TaskMetadata, run: Run) -> Run:
        called = metadata.agent or metadata.image or ""
        attributes = {
            names.RUN_ID: run.document["id"],
            names.AGENT: called,
            names.PEER_SERVICE: "lightning-run",
            names.EVENT: event["id"],
            names.USER: event["userID"],
        }
        with _tracer.start_as_current_span(
            f"{names.RUN} {called}", kind=trace.SpanKind.CLIENT, attributes=attributes
        ):
            self._live.starting(run)
            asked_at = time.time()
            await self._runner.start(spec_of(event, metadata, run, self._agents, self._api))
        self._crash("run:started")
        run = await self._sight.note_start(run, asked_at=asked_at, at_once=self._looks.patience_seconds > 0)
        self._crash("run:recorded")
        return run

    async def _watch(
        self, event: EventDocument, run: Run, allowed: Allowed
    ) -> tuple[Run, RunStatus, Allowed]:
        """Look at a run that has just begun when it prints its first line, and when it ends soon after."""
        if not self._looks.patience_seconds or self._watching >= self._looks.watched:
            return await self._look_within(event, run, allowed)
        self._watching += 1
        try:
            until = time.monotonic() + allowed.at_most(self._looks.patience_seconds)
            await self._runner.news(run.name, run.document["log"]["bytes"], seconds=until - time.monotonic())
            run, status, allowed = await self._look_within(event, run, allowed)
            if not status.ended:
                await self._runner.news(run.name, seconds=until - time.monotonic())
                run, status, allowed = await self._look_within(event, run, allowed)
        finally:
            self._watching -= 1
        return run, status, allowed

    async def _look_within(
        self, event: EventDocument, run: Run, allowed: Allowed
    ) -> tuple[Run, RunStatus, Allowed]:
        """Look, and stop a run whose budget is spent.

        Raises:
          BudgetExhausted: It is stopped.
        """
        looked = time.time()
        run, status = await self._sight.look(run)
        allowed = await self._allowance.ran(event, allowed, run, status, looked)
        if not status.ended and allowed.spent:
            await self._runner.stop(run.name)
            run, status = await self._sight.look(run)
        if status.reason == "stopped":
            allowed.check()
        return run, status, allowed
