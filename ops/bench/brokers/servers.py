"""The servers that systems need: each on a free port of loopback, with its data in a folder of ours."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ops.ports import free_port

LOOPBACK = "127.0.0.1"

#: Debian's own program of this name becomes another user; the one behind it does not.
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")

_START_SECONDS = 30.0
_LOOK_SECONDS = 0.05


class ServerFailed(Exception):
    """A server did not come up; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Serving:
    """A server that runs.

    Parameters:
      url: Where it is.
      pids: Its processes, without their children.
    """

    url: str
    pids: list[int]


#: Starts a server with its data in a folder.
Start = Callable[[Path], AbstractContextManager[Serving]]


@contextmanager
def redis(folder: Path) -> Generator[Serving]:
    """Run Redis without persistence: nothing is faster, and nothing outlives it."""
    port = free_port()
    command = ["redis-server", "--bind", LOOPBACK, "--port", str(port), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "no"]
    with _process(command, folder / "redis.log") as server:
        _await(lambda: _says(port, b"PING\r\n", b"+PONG"), folder / "redis.log", server)
        yield Serving(f"redis://{LOOPBACK}:{port}/0", [server.pid])


@contextmanager
def rabbitmq(folder: Path) -> Generator[Serving]:
    """Run RabbitMQ with its defaults and no plugin; everything of Erlang that listens does so on loopback."""
    port, distribution, epmd = free_port(), free_port(), free_port()
    (folder / "plugins").write_text("[].\n")
    environment = {
        "HOME": str(folder),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_EPMD_PORT": str(epmd),
        "RABBITMQ_NODENAME": "bench@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": LOOPBACK,
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "RABBITMQ_CONFIG_FILE": str(folder / "none"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_LOGS": "-",
    }
    # ours, so that RabbitMQ starts none that would outlive it
    names = ["epmd", "-address", LOOPBACK, "-port", str(epmd)]
    log = folder / "rabbitmq.log"
    with (
        _process(names, folder / "epmd.log", environment) as names_server,
        _process([str(RABBITMQ)], log, environment) as server,
    ):
        _await(lambda: _says(port, b"AMQP\x00\x00\x09\x01", b"\x01"), log, server)
        yield Serving(f"amqp://guest:guest@{LOOPBACK}:{port}", [server.pid, names_server.pid])


@contextmanager
def service_bus(folder: Path, *, round_trip_ms: float = 0.0) -> Generator[Serving]:
    """Run our emulator of Service Bus, which adds about half of a round trip each way.

    An event loop waits for whole milliseconds, rounded up: halves of an odd number would add one too many.
    """
    inward = round_trip_ms // 2
    command = [sys.executable, "-m", "ops.emulators.servicebus"]
    command += ["--latency-in", str(inward), "--latency-out", str(round_trip_ms - inward)]
    log = folder / "servicebus.log"
    # it is found where this process finds it
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.defpath}
    with _process(command, log, environment) as server:
        _await(lambda: "\n" in log.read_text(), log, server)
        yield Serving(log.read_text().splitlines()[0], [server.pid])


def missing(program: str | Path) -> bool:
    """Tell whether a program is not installed."""
    return shutil.which(program) is None


@contextmanager
def _process(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Generator["subprocess.Popen[bytes]"]:
    """Run a server in a process group of its own, and end the group at last: its data is thrown away."""
    with log.open("wb") as file:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=log.parent,
            start_new_session=True,
        )
    try:
        yield server
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def _await(ready: Callable[[], bool], log: Path, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if server.poll() is not None or time.monotonic() > deadline:
            last = log.read_text(errors="replace").strip()[-300:]
            raise ServerFailed(f"{log.stem} did not come up: {last or 'it said nothing'}")
        time.sleep(_LOOK_SECONDS)


def _says(port: int, question: bytes, answer: bytes) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
            connection.sendall(question)
            return connection.recv(len(answer)) == answer
    except OSError:
        return False
