"""What a shim is told to run, as the runner writes it to the shim's standard input."""

import base64
import json
import os
import signal
from typing import Any, NamedTuple


class Order(NamedTuple):
    """One run.

    Parameters:
      folder: Directory of the run's state.
      id: A number of 32 bits that no other run of this machine has.
      bwrap: Path of bubblewrap's program.
      libraries: Shared libraries that it needs and that stand in no system directory.
      root: Directory of an unpacked image, or None for the host's own system, read-only.
      mounts: Host directories that every run sees, read-only, as (from, to).
      command: Program and arguments.
      environment: Everything that the command finds in its environment.
      files: Contents by path, relative to the working directory.
      uid: User and group of the host that the run belongs to; None is the shim's own.
      socket: Unix socket of the run API, or None.
      port: Port on 127.0.0.1, inside, that leads to the socket.
      uplink: Path of slirp4netns, for a run with a network; None is no network.
      cpu: Cores.
      memory_bytes: What all its processes hold together.
      pids: Processes and threads at one time.
      disk_bytes: What each directory may hold that the run can write.
      wall_seconds: Seconds until the whole tree is killed.
      log_bytes: Bytes of output that are kept.
      start_by: When the right to start it ends, in seconds since 1970; None is no end.
      dies_at: Point at which a test has the shim kill itself: ``held``, ``began``, ``launched`` or ``ended``.
    """

    folder: str
    id: int
    bwrap: str
    libraries: list[str]
    root: str | None
    mounts: list[tuple[str, str]]
    command: list[str]
    environment: dict[str, str]
    files: dict[str, bytes]
    uid: int | None
    socket: str | None
    port: int
    uplink: str | None
    cpu: float
    memory_bytes: int
    pids: int
    disk_bytes: int
    wall_seconds: float
    log_bytes: int
    start_by: float | None = None
    dies_at: str | None = None

    def reach(self, point: str) -> None:
        """Die here if a test wants it."""
        if self.dies_at == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def to_json(self) -> bytes:
        """Write it for the pipe, which no other process reads."""
        values: dict[str, Any] = self._asdict()
        values["files"] = {path: base64.b64encode(data).decode() for path, data in self.files.items()}
        return json.dumps(values).encode()


def from_json(text: bytes) -> Order:
    """Read an order; a text that was cut off raises ValueError."""
    values: dict[str, Any] = json.loads(text)
    values["files"] = {path: base64.b64decode(data) for path, data in values["files"].items()}
    return Order(**values)
