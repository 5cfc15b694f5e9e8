"""The container of a group: its executions, one after another, and what is seen of them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from lightning.containers import RunSpec, RunStatus
from lightning.errors import LightningError, NotFound
from ops.emulators.arm.definition import Definition
from ops.emulators.arm.errors import ArmError
from ops.emulators.arm.events import Events, moment
from ops.emulators.arm.logs import Log
from ops.emulators.arm.machine import Machine

#: What a process that SIGKILL ended is said to have returned.
KILLED: Final = 137

#: How often an execution is looked at: soon after its start, later less often.
FIRST_POLL_SECONDS: Final = 0.005
LAST_POLL_SECONDS: Final = 0.1

#: An image is tried so often before the deployment fails.
PULL_ATTEMPTS: Final = 3

MAX_RESTART_SECONDS: Final = 300.0
LOG_PORTION_BYTES: Final = 1024 * 1024


class Container:
    """What runs in one deployment of a group.

    Parameters:
      definition: The group's.
      machine: What runs it.
    """

    def __init__(self, definition: Definition, machine: Machine) -> None:
        self._definition = definition
        self._machine = machine
        self._execution = ""
        self._restarts = 0
        self._current: dict[str, Any] = {"state": "Waiting", "detailStatus": ""}
        self._previous: dict[str, Any] | None = None
        self._reading = asyncio.Lock()
        self._log = Log()
        self.events = Events()
        self.over = False

    async def run(self, placed: Callable[[], None], *, death_seconds: float | None) -> None:
        """Execute it until the restart policy is content.

        Parameters:
          placed: Called when its first execution has begun.
          death_seconds: How soon each execution is killed for its memory, by a fault; None: it is not.

        Raises:
          ArmError: It could not be started.
        """
        wait = self._machine.restart_seconds
        while True:
            status = await self._execute(placed, death_seconds)
            if not self._again(int(self._current["exitCode"])):
                self.over = True
                return
            await self._machine.runner.remove(self._execution)
            self._previous = self._current
            self._current = {
                "state": "Waiting",
                "detailStatus": "CrashLoopBackOff: Back-off restarting failed",
            }
            self.events.add("BackOff", "Back-off restarting failed container", status.ended_at or time.time())
            await asyncio.sleep(wait)
            wait = min(2 * wait, MAX_RESTART_SECONDS)
            self._restarts += 1

    def _again(self, exit_code: int) -> bool:
        policy = self._definition.properties.restart_policy
        return policy == "Always" or (policy == "OnFailure" and exit_code != 0)

    async def _execute(self, placed: Callable[[], None], death_seconds: float | None) -> RunStatus:
        runner, image = self._machine.runner, self._definition.container.properties.image
        self.events.add("Pulling", f'pulling image "{image}"', time.time())
        try:
            spec = self._machine.spec(self._definition)
            self._log = Log()
            self._execution = spec.name
            await self._start(spec)
        except LightningError as error:
            raise self._unstarted(error) from error
        killed = death_seconds is not None
        death_at = time.monotonic() + (death_seconds or 0.0)
        poll = FIRST_POLL_SECONDS
        while True:
            status = await runner.status(self._execution)
            await self.read()
            if status.reason in {"missing_image", "launcher_lost"}:
                raise self._unstarted(LightningError(status.message, code=status.reason))
            if status.started_at is not None and self._current["state"] == "Waiting":
                self._began(status.started_at, placed)
            if status.ended:
                self._ended(status, out_of_memory=killed and status.reason == "stopped")
                return status
            if killed and self._current["state"] == "Running" and time.monotonic() >= death_at:
                await runner.stop(self._execution)
            await asyncio.sleep(poll)
            poll = min(1.5 * poll, LAST_POLL_SECONDS)

    async def _start(self, spec: RunSpec) -> None:
        """Start an execution to its end, even if nobody waits for it any more: it could not be ended else."""
        starting = asyncio.create_task(self._machine.runner.start(spec))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            with suppress(LightningError):
                await starting
            raise

    def _began(self, at: float, placed: Callable[[], None]) -> None:
        image, name = self._definition.container.properties.image, self._definition.container.name
        self._current = {"state": "Running", "startTime": moment(at), "detailStatus": ""}
        self.events.add("Pulled", f'Successfully pulled image "{image}"', at)
        self.events.add("Started", f"Started container {name}", at)
        placed()

    def _ended(self, status: RunStatus, *, out_of_memory: bool = False) -> None:
        began, ended = status.started_at or time.time(), status.ended_at or time.time()
        code = KILLED if status.exit_code is None else status.exit_code
        detail = "Completed" if code == 0 else "Error"
        if out_of_memory or status.reason == "out_of_memory":
            code, detail = KILLED, "OOMKilled"
        self._current = {
            "state": "Terminated",
            "startTime": moment(began),
            "exitCode": code,
            "finishTime": moment(ended),
            "detailStatus": detail,
        }
        if status.reason != "exit":
            self.events.add("Killing", f"Killing container {self._definition.container.name}", ended)

    def _unstarted(self, error: LightningError) -> ArmError:
        """Say why the container does not run."""
        if error.code in {"image_missing", "missing_image"}:
            return self.pull_failed()
        self.events.add("Failed", f"Error: {error}", time.time(), "Warning")
        return ArmError(409, "ContainerStartFailed", str(error))

    def pull_failed(self) -> ArmError:
        """Note that its image cannot be pulled, and say so."""
        image, now = self._definition.container.properties.image, time.time()
        message = f'Failed to pull image "{image}": not found'
        self._current = {"state": "Waiting", "detailStatus": "ImagePullBackOff"}
        self.events.add("Failed", message, now, "Warning", PULL_ATTEMPTS)
        self.events.add("BackOff", f'Back-off pulling image "{image}"', now, count=PULL_ATTEMPTS)
        return ArmError(409, "FailedToPullImage", message)

    async def kill(self) -> None:
        """End what runs."""
        if not self._execution or self.over:
            return
        runner = self._machine.runner
        with suppress(NotFound):
            await runner.stop(self._execution)
            while True:
                status = await runner.status(self._execution)
                if status.ended:
                    break
                await asyncio.sleep(FIRST_POLL_SECONDS)
            await self.read()
            self._ended(status)
        self.over = True

    async def discard(self) -> None:
        """End what runs, with all that was written."""
        if self._execution:
            await self._machine.runner.remove(self._execution)

    async def read(self) -> Log:
        """Give its log as it is now."""
        async with self._reading:
            with suppress(NotFound):
                while self._execution:
                    portion = await self._machine.runner.logs(
                        self._execution, self._log.next, limit=LOG_PORTION_BYTES
                    )
                    if not portion.data:
                        break
                    self._log.add(portion.data, time.time())
        return self._log

    @property
    def began(self) -> bool:
        """Whether it has ever run."""
        return self._current["state"] != "Waiting" or self._previous is not None

    @property
    def ended(self) -> bool:
        """Whether its current execution has ended."""
        return self._current["state"] == "Terminated"

    @property
    def group_state(self) -> str:
        """The state that the group has by it."""
        if self.over:
            return "Succeeded" if self._current.get("exitCode") == 0 else "Failed"
        return "Running" if self.began else "Pending"

    def shown(self) -> dict[str, Any]:
        """Give its instance view."""
        view: dict[str, Any] = {"restartCount": self._restarts, "currentState": self._current}
        if self._previous is not None:
            view["previousState"] = self._previous
        return view | {"events": self.events.as_json()}
