"""The container-runner port: a run is one command in one container, under a name that its caller derives.

The shape is what Azure Container Instances offers for a container group that never restarts, reduced to
what the platform needs. Any process may ask about a run that another one started.
"""

import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final, Literal, Protocol

from lightning.errors import Permanent, Transient

State = Literal["pending", "running", "succeeded", "failed"]

#: Why a run is over. ``exit``: the command ended by itself, with its code. ``out_of_memory``: its memory
#: was spent. ``killed``: a signal that the runner did not send ended it. ``stopped``: `Runner.stop`.
#: ``launcher_lost``: what should have run it vanished or could not set it up.
Reason = Literal["exit", "timeout", "out_of_memory", "killed", "stopped", "missing_image", "launcher_lost"]

#: ``full``: the internet, but never the host's own network; ``none``: no route anywhere.
Network = Literal["full", "none"]

#: The code of a start that came too late.
TOO_LATE: Final = "start_too_late"

#: Names that Container Instances takes for a group and for a container (RFC 1123 labels).
NAME: Final = re.compile(r"(?!.*--)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

#: Repository with optional registry, then tag or digest (the reference grammar of the OCI distribution).
_IMAGE: Final = re.compile(
    r"[a-zA-Z0-9][a-zA-Z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: The files of a spec are small things that start a run; whatever is larger is fetched by the run itself.
MAX_FILES_BYTES: Final = 64 * 1024
MAX_FILES: Final = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What a run may use; more of it is refused or ends the run.

    Parameters:
      cpu: Cores.
      memory_mib: MiB that all its processes hold together; in the sandbox, what they write counts too.
      pids: Processes and threads at one time.
      disk_mib: MiB that the working directory may hold, and ``/tmp`` once more.
      wall_seconds: Seconds from its start to its end; then the whole tree of processes is killed.
      log_bytes: Bytes of its output that are kept; what comes later is dropped, and the log says so.
    """

    cpu: float = 1.0
    memory_mib: int = 1024
    pids: int = 128
    disk_mib: int = 512
    wall_seconds: float = 1800.0
    log_bytes: int = 4 * 1024 * 1024

    def __post_init__(self) -> None:
        """Refuse what no runner can mean."""
        bounds = {
            "cpu": (self.cpu, 0.01, 64),
            "memory_mib": (self.memory_mib, 16, 256 * 1024),
            "pids": (self.pids, 1, 32768),
            "disk_mib": (self.disk_mib, 1, 256 * 1024),
            "wall_seconds": (self.wall_seconds, 0.1, 7 * 24 * 3600),
            "log_bytes": (self.log_bytes, 1024, 1024 * 1024 * 1024),
        }
        for name, (value, least, most) in bounds.items():
            if not least <= value <= most:
                raise _refused(f"the limit {name} must be from {least} to {most}")


@dataclass(frozen=True, slots=True)
class RunSpec:
    """What to run.

    Parameters:
      name: The run's name, the same at every attempt to start it: up to 63 of ``a-z 0-9 -``.
      command: Program and arguments; empty is the image's own, where the runner knows one.
      image: Reference of an OCI image; None is the runner's own system.
      environment: Variables that whoever may look at the run may see.
      secure_environment: Variables that only the code in the run sees.
      files: Contents by relative path, in the working directory when the command starts.
      limits: What it may use.
      network: ``full``, ``none``, or the host names that it may reach.
      api_socket: Unix socket of the run API on this machine; a sandbox leads `Runner.api_url` to it.
      tags: Words kept with the run, to know whose it is in `Runner.list`. Not secret.
      start_by: When the right to start it ends, in seconds since 1970: whoever stalls for longer might find
        the run ended and removed by another, and must not begin it again. None is no end.
    """

    name: str
    command: Sequence[str] = ()
    image: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    secure_environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    limits: Limits = field(default_factory=Limits)
    network: Network | Sequence[str] = "full"
    api_socket: Path | None = None
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    start_by: float | None = None

    def __post_init__(self) -> None:
        """Refuse what no runner takes.

        Raises:
          Permanent: ``run_refused``; it says what to change.
        """
        if not NAME.fullmatch(self.name):
            raise _refused("its name must be up to 63 of a-z, 0-9 and single hyphens between them")
        if self.image is not None and not _IMAGE.fullmatch(self.image):
            raise _refused("its image is not a reference such as registry.example/team/agent:1")
        if not self.command and self.image is None:
            raise _refused("it names neither a command nor an image")
        if any("\0" in word for word in self.command):
            raise _refused("a word of its command holds a zero byte")
        for name, value in (*self.environment.items(), *self.secure_environment.items()):
            if not _VARIABLE.fullmatch(name) or "\0" in value:
                raise _refused(f"{name!r} is not a variable of letters, digits and _ with a value of text")
        if twice := self.environment.keys() & self.secure_environment.keys():
            raise _refused(f"{min(twice)} is both a plain and a secure variable")
        check_files(self.files)


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands.

    Parameters:
      state: ``pending`` before its command runs; ``succeeded`` is an end with exit code 0, ``failed`` any
        other.
      reason: Why it is over; None before.
      exit_code: What its command returned, 128 + the signal where one ended it; None if nothing is known.
      message: What happened, in a person's words.
      started_at: When its command started, in seconds since 1970.
      ended_at: When it was over, in seconds since 1970.
    """

    state: State
    reason: Reason | None = None
    exit_code: int | None = None
    message: str = ""
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing changes any more."""
        return self.state in {"succeeded", "failed"}


@dataclass(frozen=True, slots=True)
class LogPortion:
    """A piece of a run's output, standard output and standard error as they came.

    Parameters:
      data: The bytes; a character may be cut at either end.
      since: The offset of the first of them, larger than what was asked for if some were lost before.
      next: The offset to ask for next.
    """

    data: bytes
    since: int
    next: int


@dataclass(frozen=True, slots=True)
class ListedRun:
    """A run as the sweep for orphans sees it."""

    name: str
    tags: Mapping[str, str]


class Runner(Protocol):
    """Where containers run.

    An instance belongs to the event loop that first uses it, and serves many calls at once.

    Parameters:
      kind: ``sandbox`` or ``aci``.
      api_url: Where code in a run finds the run API that ``RunSpec.api_socket`` names; None if it must
        go to the platform's public address.
    """

    kind: str
    api_url: str | None

    async def start(self, spec: RunSpec) -> None:
        """Start a run, once: the first spec under a name stands, and a repeated call starts nothing more.

        A call that was cut off at any point is mended by calling again with the same spec. It does not
        wait for the run: `status` says what came of it.

        Raises:
          Permanent: ``run_refused``, ``image_missing`` where that is known at once (else the run ends
            with the reason ``missing_image``), ``network_unsupported`` or ``runner_unusable``.
          Transient: ``runner_quota``, ``runner_throttled`` or ``runner_unavailable``; ``start_too_late``:
            `RunSpec.start_by` is past, and nothing was started.
        """
        ...

    async def status(self, name: str) -> RunStatus:
        """Say where a run stands.

        Raises:
          NotFound: ``run_not_found``: it was never started, or is removed.
          Transient: As of `start`.
        """
        ...

    async def logs(self, name: str, since: int = 0, *, limit: int = 65536) -> LogPortion:
        """Read output from a byte offset; an empty portion means that there is no more yet.

        Parameters:
          name: The run.
          since: Offset of the first byte wanted: 0, then each portion's ``next``.
          limit: Bytes to return at most.

        Raises:
          NotFound: ``run_not_found``.
          Transient: As of `start`.
        """
        ...

    async def news(self, name: str, since: int | None = None, *, seconds: float) -> None:
        """Wait for the end of a run, or for output beyond a byte offset if one is given, or for so long.

        A runner that could only ask again and again, at a price, returns at once; so does any for a run that
        is not there.
        """
        ...

    async def stop(self, name: str) -> None:
        """End a run with all its processes; `status` tells when it is over. Unknown or over: nothing.

        Raises:
          Transient: As of `start`.
        """
        ...

    async def remove(self, name: str) -> None:
        """Forget a run with its log, stopping it first; repeated or unknown: nothing.

        Raises:
          Transient: As of `start`.
        """
        ...

    def list(self) -> AsyncIterator[ListedRun]:
        """Name every run of this installation that is not removed, whatever its state.

        Raises:
          Transient: As of `start`.
        """
        ...

    async def close(self) -> None:
        """Give back connections; runs go on."""
        ...


def check_files(files: Mapping[str, bytes]) -> None:
    """Refuse files that no runner puts in place.

    Raises:
      Permanent: ``run_refused``; it says what to change.
    """
    if len(files) > MAX_FILES or sum(map(len, files.values())) > MAX_FILES_BYTES:
        raise _refused(f"its files are more than {MAX_FILES}, or than {MAX_FILES_BYTES} bytes together")
    for path in files:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\0" in path or len(path) > 255:
            raise _refused(f"{path!r} is not a relative path inside the working directory")
        if str(PurePosixPath(path)) != path:
            raise _refused(f"{path!r} is written as {str(PurePosixPath(path))!r}")
        if under := next((str(each) for each in PurePosixPath(path).parents if str(each) in files), None):
            raise _refused(f"{under!r} is a file, so that {path!r} cannot be in it")


def check_time(start_by: float | None) -> None:
    """Refuse a start whose time is past.

    Raises:
      Transient: ``start_too_late``.
    """
    if start_by is not None and time.time() > start_by:
        message = "The right to start the run had ended before it was started."
        raise Transient(message, code=TOO_LATE, retry_after=0.1)


def _refused(why: str) -> Permanent:
    return Permanent(f"The run cannot be started: {why}.", code="run_refused")
