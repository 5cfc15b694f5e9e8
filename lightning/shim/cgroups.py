"""Control groups, where this process may make them: version 2, then version 1, then none.

Version 2 wants a group that has controllers for its children and that this process may write; version 1
a writable hierarchy for each controller. A group of ours is a child of the one that this process is in
(in version 2: or of the nearest one above), so whatever bounds the platform bounds its runs too.
"""

import contextlib
import errno
import os
import time
from typing import Final, NamedTuple

_PERIOD_MICROSECONDS: Final = 100_000

#: Processes of bubblewrap itself beside those of a run: its monitor and its reaper.
_OVERHEAD_PIDS: Final = 2

#: A group is busy until the kernel has reaped its last process.
_REMOVE_SECONDS: Final = 2.0


class Place(NamedTuple):
    """Where groups can be made.

    Parameters:
      version: 2, 1, or 0 where there is no such place and only rlimits hold.
      parents: Directory by controller: ``memory``, ``pids`` and, if there is one, ``cpu``.
    """

    version: int
    parents: dict[str, str]


def find(groups: str | None = None, mounts: str | None = None) -> Place:
    """Look where this process may make groups.

    Parameters:
      groups: Text in the form of ``/proc/self/cgroup``; None reads it.
      mounts: Text in the form of ``/proc/self/mounts``; None reads it.
    """
    lines = (groups if groups is not None else _text("/proc/self/cgroup")).splitlines()
    own = {
        name: path.rstrip("/")
        for _, names, path in (line.split(":", 2) for line in lines)
        for name in names.split(",")
    }
    tops = list(_tops(mounts if mounts is not None else _text("/proc/self/mounts")))
    return _version_2(own, tops) or _version_1(own, tops) or Place(0, {})


class Group:
    """The control group of one run.

    Parameters:
      place: What `find` returned.
      name: Its name, which no other group there has.
    """

    def __init__(self, place: Place, name: str) -> None:
        self._version = place.version
        self._folders = {controller: f"{parent}/{name}" for controller, parent in place.parents.items()}

    @property
    def folders(self) -> list[str]:
        """The directories of the group, for whoever must remove it in this process's place."""
        return sorted(set(self._folders.values()))

    def create(self, *, memory_bytes: int, pids: int, cpu: float) -> None:
        """Make it, with its limits."""
        for folder in self.folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o755)
        quota = max(1000, int(cpu * _PERIOD_MICROSECONDS))
        if self._version == 2:
            self._write("memory", "memory.max", memory_bytes)
            self._write("memory", "memory.swap.max", 0, where_there=True)
            self._write("memory", "memory.oom.group", 1, where_there=True)
            self._write("cpu", "cpu.max", f"{quota} {_PERIOD_MICROSECONDS}", where_there=True)
        else:
            self._write("memory", "memory.limit_in_bytes", memory_bytes)
            self._write("memory", "memory.memsw.limit_in_bytes", memory_bytes, where_there=True)
            self._write("cpu", "cpu.cfs_period_us", _PERIOD_MICROSECONDS, where_there=True)
            self._write("cpu", "cpu.cfs_quota_us", quota, where_there=True)
        self._write("pids", "pids.max", pids + _OVERHEAD_PIDS)

    def join(self) -> None:
        """Move this process into it."""
        for folder in self.folders:
            with open(f"{folder}/cgroup.procs", "w") as file:
                file.write("0")

    def killed_for_memory(self) -> bool:
        """Tell whether the kernel has killed a process of it because its memory was spent."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        try:
            lines = _text(f"{self._folders['memory']}/{name}").splitlines()
        except FileNotFoundError:
            return False
        return any(line.startswith("oom_kill ") and line != "oom_kill 0" for line in lines)

    def _write(self, controller: str, name: str, value: object, *, where_there: bool = False) -> None:
        folder = self._folders.get(controller)
        if where_there and (folder is None or not os.path.exists(f"{folder}/{name}")):
            return
        with open(f"{folder}/{name}", "w") as file:
            file.write(str(value))


def remove(folders: list[str], *, seconds: float = _REMOVE_SECONDS) -> None:
    """Remove a group whose processes are dead or dying; one that never was is no error."""
    deadline = time.monotonic() + seconds
    for folder in folders:
        while True:
            try:
                os.rmdir(folder)
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.005)
                    continue
            break


def _tops(mounts: str) -> list[tuple[int, list[str], str]]:
    """List the mounted hierarchies: version, options, directory."""
    found: list[tuple[int, list[str], str]] = []
    for line in mounts.splitlines():
        _, folder, kind, options, *_ = line.split(" ")
        if kind in {"cgroup", "cgroup2"}:
            found.append((2 if kind == "cgroup2" else 1, options.split(","), folder))
    return found


def _version_2(own: dict[str, str], tops: list[tuple[int, list[str], str]]) -> Place | None:
    for version, _, top in tops:
        path = own.get("")
        while version == 2 and path is not None:
            folder = top + path
            if {"memory", "pids"} <= _controllers(folder) and os.access(folder, os.W_OK):
                wanted = _controllers(folder) & {"memory", "pids", "cpu"}
                return Place(2, dict.fromkeys(sorted(wanted), folder))
            path = path.rpartition("/")[0] if path else None
    return None


def _version_1(own: dict[str, str], tops: list[tuple[int, list[str], str]]) -> Place | None:
    parents: dict[str, str] = {}
    for version, options, top in tops:
        for controller in {"memory", "pids", "cpu"} & set(options):
            # inside a container the own group may be the top of what is mounted
            folder = next(filter(os.path.isdir, (top + own.get(controller, ""), top)), top)
            if version == 1 and os.access(folder, os.W_OK):
                parents[controller] = folder
    return Place(1, parents) if {"memory", "pids"} <= parents.keys() else None


def _controllers(folder: str) -> set[str]:
    try:
        return set(_text(f"{folder}/cgroup.subtree_control").split())
    except OSError:
        return set()


def _text(path: str) -> str:
    with open(path) as file:
        return file.read()
