"""What is measured: an ingress alone, or a whole platform, in a data directory of its own."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from lightning.client import Client, ClientError
from lightning.keys import with_keys
from lightning.settings import Settings, for_child
from ops.bench.gauge import child_pids, children
from ops.crowd import crowd
from ops.ports import free_port

READY_SECONDS = 60.0
STOP_SECONDS = 20.0

#: After it is ready, a platform registers its first user, and imports what it needs for the first event.
SETTLE_SECONDS = 1.5

_NAMES = {"api.main": "ingress", "worker.main": "worker", "worker.clock": "clock"}


class Target:
    """A process, or a platform of several, that is stopped whatever happens.

    Parameters:
      data: An empty directory.
      users: How many users post.
      environment: Settings besides those that follow from the others, by their names.
      libraries: Variables besides, which libraries look for.
      whole: `lightning up` instead of the ingress alone.
      reaped: Whether what it leaves behind is measured (`ops.bench.reaper`).
    """

    def __init__(
        self,
        data: Path,
        *,
        users: int,
        environment: Mapping[str, str],
        whole: bool,
        libraries: Mapping[str, str] = MappingProxyType({}),
        reaped: bool = False,
    ) -> None:
        self.data = data
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        given = {"LIGHTNING_DATA": str(data), "PORT": str(port), "LIGHTNING_LLM": "echo", **environment}
        settings = with_keys(Settings.load(given))
        self.tokens = dict(asyncio.run(crowd(settings, users)))
        self._environment = {**for_child(settings), **libraries}
        up = [str(Path(sys.executable).with_name("lightning")), "up", "--quiet"]
        command = up if whole else [sys.executable, "-m", "api.main"]
        self._command: Sequence[str] = (
            [sys.executable, "-m", "ops.bench.reaper", *command] if reaped else command
        )
        self._whole = whole
        self._reaped = reaped

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, env=self._environment, stdin=subprocess.DEVNULL)
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def processes(self) -> dict[str, int]:
        """Give the process ids by name."""
        if not self._whole:
            return {"ingress": self._process.pid}
        found = children(self._platform())
        return {name: found[module] for module, name in _NAMES.items() if module in found}

    def reaper(self) -> int:
        """Give the process id of what reaps."""
        return self._process.pid

    def _platform(self) -> int:
        return next(iter(child_pids(self._process.pid))) if self._reaped else self._process.pid

    def databases(self) -> dict[str, str]:
        """Give the files of the log and of the queue."""
        return {"log": str(self.data / "log.db"), "queue": str(self.data / "queue.db")}

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        with Client(self.url, timeout_seconds=2) as client:
            while True:
                try:
                    if client.health()["ready"]:
                        break
                except ClientError:
                    pass
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise TimeoutError(f"{' '.join(self._command)} did not become ready")
                time.sleep(0.05)
        time.sleep(SETTLE_SECONDS)

    def _stop(self) -> None:
        """Let it drain; `lightning up` stops its children, which die with it in any case."""
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
