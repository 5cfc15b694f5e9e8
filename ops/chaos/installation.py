"""An installation whose processes can be killed one by one."""

import asyncio
import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from lightning.client import Client, ClientError
from lightning.keys import with_keys
from lightning.settings import Settings, for_child
from worker.supervisor import Process, Supervisor

PASSWORD = "a password for chaos only"  # noqa: S105 -- of an installation that is thrown away


class Installation:
    """Ingress, workers and clock under a supervisor, in a data directory of their own.

    Parameters:
      data: The data directory.
      environment: Settings besides those that follow from the others, by their names.
      workers: Worker processes.
      clock: Whether there is a clock; without it only redelivery repairs.
      program: What runs a process, given the module; a test of the tests puts a saboteur here.
    """

    def __init__(
        self,
        data: Path,
        environment: Mapping[str, str],
        *,
        workers: int = 1,
        clock: bool = True,
        program: Sequence[str] = (sys.executable, "-m"),
    ) -> None:
        self.data = data
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        given = {
            "LIGHTNING_DATA": str(data),
            "PORT": str(port),
            "NOTIFY_URL": f"{self.url}/notify",
            "LIGHTNING_LOG_LEVEL": "warning",
            **environment,
        }
        self.settings = with_keys(Settings.load(given))
        if self.settings.llm != "echo" and "//127.0.0.1" not in (self.settings.openai_base_url or ""):
            raise ValueError("an installation that is thrown away talks to no model but one on loopback")
        web = for_child(self.settings)
        others = {**web, "PORT": "0"}
        processes = [Process("web", [sys.executable, "-m", "api.main"], web)]
        processes += [Process(f"worker.{n}", [*program, "worker.main"], others) for n in range(workers)]
        if clock:
            processes.append(Process("clock", [*program, "worker.clock"], others))
        self._processes = {process.name: process for process in processes}
        # nothing is left to drain when a scenario is judged, and the directory is thrown away
        self._supervisor = Supervisor(processes, drain_seconds=0, steady_seconds=0.5)
        self._thread = threading.Thread(target=self._supervisor.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        until(self._ready, "the ingress is ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()
        self._thread.join()

    def _ready(self) -> bool:
        with Client(self.url, timeout_seconds=2) as client:
            try:
                return client.health()["ready"]
            except ClientError:
                return False

    def user(self, name: str = "storm") -> Client:
        """Register a user and log in."""
        client = Client(self.url)
        client.register(name, PASSWORD)
        client.log_in(name, PASSWORD)
        return client

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
        """Count what is in the queue file, read from outside."""
        with sqlite3.connect(self.data / "queue.db", timeout=5) as database:
            [count] = database.execute("SELECT count(*) FROM messages").fetchone()
        database.close()
        return count


class ModelServer:
    """The scripted language model as a process of its own, which outlives what it serves.

    Parameters:
      script: Its steps; without any it answers ``You said: ...``.
      data: Where the script is put.
    """

    def __init__(self, data: Path, script: Sequence[Mapping[str, Any]] = ()) -> None:
        path = data / "script.json"
        path.write_text(json.dumps(list(script)))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ops.emulators.openai", "--port", "0", "--script", str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        self.base_url = line.strip()
        if not self.base_url:
            self._process.wait(20)
            raise RuntimeError("the scripted model does not start; its script is at fault")
        self.root = self.base_url.removesuffix("/v1")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
        if self._process.stdout:
            self._process.stdout.close()

    def calls(self) -> int:
        """Count the requests that arrived."""
        return httpx2.get(f"{self.root}/control/requests", params={"summary": 1}).json()["count"]

    def held(self) -> int:
        """Count the answers that wait to be released."""
        return httpx2.get(f"{self.root}/control/held").json()["held"]

    def release(self) -> None:
        """Let all held answers go on."""
        httpx2.post(f"{self.root}/control/release").raise_for_status()

    def environment(self) -> dict[str, str]:
        """Give the settings that point an installation at this model."""
        return {"OPENAI_API_KEY": "sk-of-a-scripted-model", "OPENAI_BASE_URL": self.base_url}


async def kill_at_random(
    installation: Installation, seed: int, stop: asyncio.Event, pause: tuple[float, float]
) -> list[str]:
    """Kill processes with SIGKILL, one after another, until told to stop.

    Returns:
      The names of those that were killed.
    """
    chance = random.Random(seed)
    killed: list[str] = []
    while True:
        try:
            async with asyncio.timeout(chance.uniform(*pause)):
                await stop.wait()
        except TimeoutError:
            name = chance.choice(installation.names())
            if installation.signal(name, signal.SIGKILL):
                killed.append(name)
        else:
            return killed


def until(condition: Callable[[], bool], what: str, *, seconds: float = 30.0) -> None:
    """Wait for a condition.

    Raises:
      TimeoutError: It did not come about in time; the message says what.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)


def free_port() -> int:
    """Give a port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
