"""What a storm over the Service Bus broker happens to: the emulator and workers; and what happens to them."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from ops.ports import free_port

WORKERS: Final = 2
THREADS: Final = 16
LOCK_SECONDS: Final = 5.0

#: For how long the service refuses connections.
AWAY_SECONDS: Final = 1.5

_Request = tuple[str, str, dict[str, Any]]
_KILL: Final = "kill"
_AWAY: Final = "away"

#: What may happen, by its name: requests to the emulator, or the death of a worker. What stands there more
#: often happens more often.
_DEEDS: Final[list[tuple[str, list[_Request]]]] = [
    *((how, [("POST", "/break", {"how": how})]) for how in ("forced-close", "drop", "detach")),
    # a sender leaves a busy service alone for a second and more, so few refusals last long
    ("busy", [("POST", "/faults", {"kind": "server-busy", "operation": "send", "count": 2})]),
    ("busy", [("POST", "/faults", {"kind": "server-busy", "operation": "settle", "count": 50})]),
    (_AWAY, [("PUT", "/listening", {"accepting": False}), ("POST", "/break", {"how": "drop"})]),
    *[("locks lost", [("POST", "/locks/lose", {})])] * 2,
    *[(_KILL, [])] * 4,
]


class Scene:
    """The emulator and workers, each a process of its own.

    Parameters:
      folder: An empty directory.
      most_seconds: How long a worker works on a message at most.
    """

    def __init__(self, folder: Path, most_seconds: float) -> None:
        self.log = folder / "noted"
        self.log.touch()
        self._most_seconds = most_seconds
        self._control_port = free_port()
        command = [
            sys.executable,
            "-m",
            "ops.emulators.servicebus",
            "--control-port",
            str(self._control_port),
        ]
        command += ["--lock-duration", str(LOCK_SECONDS), "--max-delivery-count", "2000"]
        self._processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True)]
        self.connection_string = _line(self._processes[0])
        self._workers = [self._start_worker() for _ in range(WORKERS)]

    def close(self) -> None:
        """End all processes."""
        for process in reversed(self._processes):
            process.send_signal(signal.SIGTERM)
        for process in self._processes:
            process.communicate()

    def kill_worker(self, place: int) -> None:
        """Kill a worker, and put another one in its place."""
        worker = self._workers[place]
        worker.kill()
        worker.communicate()
        self._processes.remove(worker)
        self._workers[place] = self._start_worker()

    def ask(self, method: str, path: str, body: dict[str, Any]) -> None:
        """Ask something of the emulator."""
        connection = HTTPConnection("127.0.0.1", self._control_port, timeout=30)
        connection.request(method, path, json.dumps(body))
        answer = connection.getresponse()
        if answer.status != 200:
            raise ValueError(answer.read().decode())
        connection.close()

    def noted(self) -> list[int]:
        """Give the numbers of the messages that were worked on to their end."""
        return list(map(int, self.log.read_text().split()))

    def _start_worker(self) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "ops.chaos.servicebus_worker", self.connection_string, str(self.log)]
        command += ["--threads", str(THREADS), "--most-seconds", str(self._most_seconds)]
        # what it logs of all that is done to it is not of interest
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self._processes.append(worker)
        if _line(worker) != "ready":
            raise RuntimeError("a worker does not start")
        return worker


def _line(process: "subprocess.Popen[str]") -> str:
    return process.stdout.readline().strip() if process.stdout else ""


class Rage:
    """Things that go wrong, one after the other: all that can in the order of chance, then what chance wants.

    Parameters:
      scene: What it happens to.
      seed: Decides what goes wrong and when.
      pause: The shortest and the longest time between two things, in seconds.
    """

    def __init__(self, scene: Scene, seed: int, pause: tuple[float, float]) -> None:
        self.done: Counter[str] = Counter()
        self._scene = scene
        self._chance = random.Random(seed)
        self._pause = pause
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def share(self) -> float:
        """Tell which part of all messages may be sent by now, so that each thing happens while some are sent.

        Raises:
          Exception: Nothing goes wrong any more, because that itself went wrong.
        """
        if self._error is not None:
            raise self._error
        return (sum(self.done.values()) + 1) / (len(_DEEDS) + 1)

    def missing(self) -> list[str]:
        """Name what has not happened yet."""
        return sorted({name for name, _ in _DEEDS} - self.done.keys())

    def _run(self) -> None:
        try:
            for name, requests in self._deeds():
                if self._stop.wait(self._chance.uniform(*self._pause)):
                    return
                self._do(name, requests)
                self.done[name] += 1
        except Exception as error:  # noqa: BLE001 -- told where the storm is waited for
            self._error = error

    def _deeds(self) -> Iterator[tuple[str, list[_Request]]]:
        yield from self._chance.sample(_DEEDS, len(_DEEDS))
        while True:
            yield self._chance.choice(_DEEDS)

    def _do(self, name: str, requests: list[_Request]) -> None:
        for request in requests:
            self._scene.ask(*request)
        if name == _KILL:
            self._scene.kill_worker(self._chance.randrange(WORKERS))
        elif name == _AWAY:
            time.sleep(AWAY_SECONDS)
            self._scene.ask("PUT", "/listening", {"accepting": True})
