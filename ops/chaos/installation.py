"""An installation whose processes can be killed one by one."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from brokers import AnyBroker, declare_queues, open_broker
from lightning.client import Client, ClientError
from lightning.domain.accounts import Accounts
from lightning.keys import with_keys
from lightning.settings import Settings, for_child, without_settings
from lightning.storage import open_storage
from ops.chaos.emulators import emulator
from ops.chaos.forked import fork
from ops.chaos.queues import FileQueue, QueueServer
from ops.chaos.stores import FileStore, StoreServer
from ops.ports import free_port
from worker.supervisor import Process, Running, Supervisor

PASSWORD = "a password for chaos only"  # noqa: S105 -- of an installation that is thrown away

#: As low as it goes: whoever reads these hashes knows the password anyway.
BCRYPT_ROUNDS = 4

#: Idle connections are let go long before uvicorn closes them, which could be just as one is used.
BRIEF = httpx2.Limits(keepalive_expiry=1.0)

#: How long `until` rests between two looks.
SHORTEST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.25


class Installation:
    """Ingress, workers and clock under a supervisor, in a data directory of their own.

    Parameters:
      data: The data directory.
      environment: Settings besides those that follow from the others, by their names.
      workers: Worker processes.
      clock: Whether there is a clock; without it only redelivery repairs.
      clocks: How many there are then.
      program: What runs a process, given the module; a test of the tests puts a saboteur here.
      queue: Where the queue is; by default in the data directory.
      store: Where the log is; by default in the data directory.
      start: Starts a process; with `launch`, an interpreter is started for it.
    """

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        *,
        workers: int = 1,
        clock: bool = True,
        clocks: int = 1,
        program: Sequence[str] = (sys.executable, "-m"),
        queue: QueueServer | None = None,
        store: StoreServer | None = None,
        start: Callable[[Process], Running] = fork,
    ) -> None:
        self.data = data
        self._queue: QueueServer = queue or FileQueue()
        store = store or FileStore()
        self._broker: AnyBroker | None = None
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        given = {
            "LIGHTNING_DATA": str(data),
            "PORT": str(port),
            "NOTIFY_URL": f"{self.url}/notify",
            "LIGHTNING_LOG_LEVEL": "warning",
            **self._queue.environment(),
            **store.environment(),
            **environment,
        }
        self.settings = with_keys(Settings.load(given))
        if self.settings.llm != "echo" and "//127.0.0.1" not in (self.settings.openai_base_url or ""):
            raise ValueError("an installation that is thrown away talks to no model but one on loopback")
        web = for_child(self.settings)
        others = {**web, "PORT": "0"}
        served = {**store.commands(data), **self._queue.commands(data)}
        # the line by which an emulator says that it is ready is for people
        processes = [Process(*each, web, output=subprocess.DEVNULL) for each in served.items()]
        processes.append(Process("web", [sys.executable, "-m", "api.main"], web))
        processes += [Process(f"worker.{n}", [*program, "worker.main"], others) for n in range(workers)]
        if clock:
            names = ["clock", *(f"clock.{number}" for number in range(1, clocks))]
            processes += [Process(name, [*program, "worker.clock"], others) for name in names]
        self._processes = {process.name: process for process in processes}
        # nothing is left to drain when a scenario is judged, and the directory is thrown away
        self._supervisor = Supervisor(processes, drain_seconds=0, steady_seconds=0.5, start=start)
        self._thread = threading.Thread(target=self._supervisor.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        with Client(self.url, timeout_seconds=2) as client:
            until(lambda: _ready(client), "the ingress is ready", seconds=90)
        processes = self._processes.values()  # one that was started last may come after that
        until(lambda: all(process.started_at for process in processes), "all have been started")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()
        self._thread.join()
        if self._broker is not None:
            self._broker.close()

    def user(self, name: str = "storm") -> Client:
        """Make an account and log in."""
        self.register(name, PASSWORD)
        client = Client(self.url)
        client.log_in(name, PASSWORD)
        return client

    def register(self, name: str, password: str) -> None:
        """Make an account, in the store itself: its password is hashed fast."""
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(self._register(name, password))

    async def _register(self, name: str, password: str) -> None:
        storage = open_storage(self.settings)
        try:
            await Accounts(storage, rounds=BCRYPT_ROUNDS).register(name, password)
        finally:
            await storage.close()

    def names(self) -> list[str]:
        """Give the names of the processes."""
        return list(self._processes)

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Send a signal to one process.

        Returns:
          False when it is not running just now.
        """
        running = self._processes[name].running
        if running is None or running.poll() is not None:
            return False
        running.send_signal(number)
        return True

    def pid(self, name: str) -> int | None:
        """Give the process id of a process, None while it is being restarted."""
        running = self._processes[name].running
        return None if running is None else running.pid

    def crashed(self) -> bool:
        """Tell whether the crash point of this installation was reached."""
        return any(self.data.glob("crashed-*"))

    def messages(self) -> int:
        """Count what is in the queue, read from outside."""
        if self._broker is None:
            self._broker = open_broker(self.settings)
            declare_queues(self._broker, self.settings.servicebus_queue)
        return sum(map(self._broker.qsize, self._broker.get_declared_queues()))

    def lose_queue(self) -> None:
        """Lose all messages while the processes run."""
        holder = self._queue.lose(self.data)
        if holder is not None:
            self.signal(holder, signal.SIGKILL)


def _ready(client: Client) -> bool:
    try:
        return client.health()["ready"]
    except ClientError:
        return False


class ModelServer:
    """The scripted language model as a process of its own, which outlives what it serves.

    Parameters:
      script: Its steps; without any it answers ``You said: ...``.
      data: Where the script is put.
    """

    def __init__(self, data: Path, script: Sequence[Mapping[str, Any]] = ()) -> None:
        path = data / "script.json"
        path.write_text(json.dumps(list(script)))
        port = free_port()
        self.base_url = f"http://127.0.0.1:{port}/v1"
        command = emulator("openai", "--port", str(port), "--script", str(path))
        self._process = fork(Process("model", command, without_settings(), output=subprocess.DEVNULL))
        self.control = httpx2.Client(
            base_url=self.base_url.removesuffix("/v1"), trust_env=False, limits=BRIEF
        )
        until(self._serves, "the scripted model is ready")

    def _serves(self) -> bool:
        if self._process.poll() is not None:
            self.control.close()
            raise RuntimeError("the scripted model does not start; its script is at fault")
        try:
            self.held()
        except httpx2.HTTPError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.control.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)

    def calls(self) -> int:
        """Count the requests that arrived."""
        return self.control.get("/control/requests", params={"summary": 1}).json()["count"]

    def held(self) -> int:
        """Count the answers that wait to be released."""
        return self.control.get("/control/held").json()["held"]

    def release(self, *, keep: int = 0) -> None:
        """Let all held answers go on, but for so many that have been held longest."""
        self.control.post("/control/release", params={"keep": keep}).raise_for_status()

    def environment(self) -> dict[str, str]:
        """Give the settings that point an installation at this model."""
        return {"OPENAI_API_KEY": "sk-of-a-scripted-model", "OPENAI_BASE_URL": self.base_url}


async def kill_at_random(
    installation: Installation,
    seed: int,
    stop: asyncio.Event,
    pause: tuple[float, float],
    progress: Callable[[], int],
    killed: list[str],
) -> None:
    """Kill processes with SIGKILL, one after another, until told to stop: all of them die as often.

    Parameters:
      installation: Whose processes.
      seed: Decides who dies and when.
      stop: Tells to stop.
      pause: The shortest and the longest time between two kills, in seconds.
      progress: Counts what was achieved. Nobody is killed before it has grown since the last kill: where
        a start takes longer than the pause, nothing would ever be achieved otherwise.
      killed: Takes the names of those that were killed.
    """
    chance = random.Random(seed)
    left: list[str] = []
    achieved = -1
    while not await _stopped(stop, chance.uniform(*pause)):
        while progress() == achieved:
            if await _stopped(stop, pause[0] / 10):
                return
        left = left or chance.sample(installation.names(), len(installation.names()))
        if installation.signal(left[-1], signal.SIGKILL):
            achieved = progress()
            killed.append(left.pop())


async def _stopped(stop: asyncio.Event, within_seconds: float) -> bool:
    try:
        async with asyncio.timeout(within_seconds):
            return await stop.wait()
    except TimeoutError:
        return False


def until(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Wait for a condition.

    What takes long is looked at less often: a look may cost whoever is asked as much as what it waits for.

    Raises:
      TimeoutError: It did not come about in time; the message says what.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        pause = min(max(SHORTEST_PAUSE_SECONDS, waited / 8), LONGEST_PAUSE_SECONDS)
        time.sleep(min(pause, max(seconds - waited, SHORTEST_PAUSE_SECONDS)))
