"""`lightning up` as a process of its own, in the place where the module runs."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

from lightning.client import Client
from ops.chaos.installation import until
from ops.ports import free_port
from tests import forked
from tests.acceptance import queues
from tests.stores import settings_of
from worker.supervisor import Running

LIGHTNING = str(Path(sys.executable).with_name("lightning"))


def read_environment(path: Path) -> dict[str, str]:
    """Read a file of assignments as a shell does."""
    pairs = (line.partition("=") for line in path.read_text().splitlines())
    return {name: shlex.split(value)[0] for name, _, value in pairs}


class Up:
    """A running `lightning up` and the first user's client.

    Parameters:
      data: The data directory.
      environment: Settings besides those that follow from the place.
      arguments: More of its command line.
      anew: Whether an interpreter is started for it, as where a person types the command.
    """

    def __init__(self, data: Path, environment: dict[str, str], *arguments: str, anew: bool = False):
        self.data = data
        self._anew = anew
        self.emulated = queues.emulated_azure
        self._queue = queues.current
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
        services = {} if self.emulated else {**settings_of(data), **self._queue.environment()}
        self.environment = {**kept, **services, **environment}
        self.queue_name = self.environment.get("SERVICEBUS_QUEUE", "lightning")
        emulate = ["--emulate-azure"] if self.emulated else []
        where = ["--port", str(self.port), "--data", str(data)]
        self._command = [LIGHTNING, "up", *where, *emulate, *arguments]
        self._given = dict(self.environment)
        self.start()

    def start(self) -> None:
        """Start it, or once more after it was stopped."""
        self.log = self.data.parent / f"{self.data.name}.log"
        self.log.write_text("")
        self.process = self._launch() if self._anew else self._fork()
        told = lambda: "first user" in self.printed() or self.process.poll() is not None  # noqa: E731
        until(told, "it is up", seconds=60)
        if self.emulated and self.process.poll() is None:
            self.environment |= read_environment(self.data / "azure.env")

    def _fork(self) -> Running:
        return forked.start(self._command, self._given, Path(os.devnull), self.log, self.log)

    def _launch(self) -> Running:
        with self.log.open("w") as log:
            return subprocess.Popen(self._command, env=self._given, stdout=log, stderr=subprocess.STDOUT)

    def printed(self) -> str:
        return self.log.read_text()

    def client(self) -> Client:
        kept = json.loads((self.data / "first_user.json").read_text())
        client = Client(self.url)
        client.log_in(kept["username"], kept["password"])
        return client

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        return forked.run([LIGHTNING, *arguments], environment or self.environment)

    def shell(self, line: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a person pastes it."""
        return subprocess.run(
            ["bash", "-c", line],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def children(self, module: str) -> list[int]:
        """Find the processes of this installation that run a module."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if module.encode() in command and int(status[1]) == self.process.pid:
                found.append(int(folder.name))
        return found

    def processes(self) -> list[int]:
        """Find all of them."""
        emulators = (
            [f"ops.emulators.{name}" for name in ("cosmos", "servicebus", "arm", "monitor")]
            if self.emulated
            else []
        )
        modules = ["api.main", "worker.main", "worker.clock", *emulators]
        return [pid for module in modules for pid in self.children(module)]

    def lose_queue(self) -> None:
        """Lose all messages while it runs."""
        if not self.emulated:
            self._queue.lose(self.data)
            return
        [emulator] = self.children("ops.emulators.servicebus")
        for file in (self.data / "emulators" / "servicebus").iterdir():
            file.unlink()
        os.kill(emulator, signal.SIGKILL)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(40)
