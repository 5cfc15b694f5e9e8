"""What a measurement costs: processor time of processes, transactions of SQLite files.

Linux only: it reads ``/proc``, which costs those who are measured nothing.
"""

import os
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Which clock of a process: the one of the scheduler, in nanoseconds (Linux's posix-timers.h).
_CPUCLOCK_SCHED = 2

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")

#: Where the index of a WAL counts transactions (`iChange` of its header, "WAL-mode file format" of SQLite).
_CHANGES_AT = 8


@dataclass(frozen=True, slots=True)
class Gauge:
    """Reads counters that only grow.

    Parameters:
      processes: Process ids by name.
      databases: SQLite files in WAL mode by name.
      parents: Process ids, by the name of what has ended as their children.
    """

    processes: Mapping[str, int]
    databases: Mapping[str, str] = field(default_factory=dict[str, str])
    parents: Mapping[str, Sequence[int]] = field(default_factory=dict[str, Sequence[int]])

    def read(self) -> dict[str, float]:
        """Give ``cpu NAME`` in seconds and ``commits NAME`` of everything that can be read now."""
        found = {f"cpu {name}": cpu_seconds(pid) for name, pid in self.processes.items()}
        for name, pids in self.parents.items():
            found[f"cpu {name}"] = sum(map(ended_cpu_seconds, pids))
        found["cpu all"] = machine_seconds()
        found |= {f"commits {name}": commits(Path(path)) for name, path in self.databases.items()}
        return found

    def since(self, before: Mapping[str, float]) -> dict[str, float]:
        """Give what the counters have grown by; ``cpu others`` is that of the rest of the machine."""
        grown = {name: value - before[name] for name, value in self.read().items()}
        whole = grown.pop("cpu all")
        ours = sum(value for name, value in grown.items() if name.startswith("cpu "))
        return {**grown, "cpu others": max(0.0, whole - ours)}


def cpu_seconds(pid: int) -> float:
    """Give the processor time that a process has taken, in user and in kernel mode, by its own clock.

    Raises:
      ProcessLookupError: It is gone.
    """
    # as clock_getcpuclockid(3) makes its number, which Python does not have; ``/proc`` counts ticks of 10 ms
    clock = (~pid << 3) | _CPUCLOCK_SCHED
    try:
        return time.clock_gettime(clock)
    except OSError as error:
        raise ProcessLookupError(f"there is no process {pid}") from error


def ended_cpu_seconds(pid: int) -> float:
    """Give the processor time that children of a process took which have ended, with all of theirs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / _TICKS_PER_SECOND


def tree_cpu_seconds(pid: int) -> float:
    """Give the processor time that a process and its living descendants have taken; 0 once it is gone."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        below = {int(child) for task in tasks for child in (task / "children").read_text().split()}
        return cpu_seconds(pid) + sum(map(tree_cpu_seconds, below))
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def machine_seconds() -> float:
    """Give the processor time that everything on this machine has taken."""
    user, nice, system, _idle, _iowait, irq, softirq = Path("/proc/stat").read_text().split()[1:8]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS_PER_SECOND


class Meanwhile:
    """What the whole machine does from now on."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), machine_seconds()

    def others(self, ours_seconds: float) -> float:
        """Give the share of all processors that was taken since, less the processor time that was ours."""
        whole = (time.monotonic() - self._began) * (os.cpu_count() or 1)
        return min(1.0, max(0.0, (machine_seconds() - self._before - ours_seconds) / whole))


def memory_mb(pid: int) -> tuple[float, float]:
    """Give what a process holds of the machine's memory, in MB of 1,000,000 bytes.

    Returns:
      RSS, and PSS, which counts of a page that several processes share only this one's part.
    """
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, amount, *_ = line.split()
        kib[name] = int(amount)
    return kib["Rss:"] * 1024 / 1e6, kib["Pss:"] * 1024 / 1e6


def commits(database: Path) -> int:
    """Count the transactions that wrote, of all processes, since the file was opened."""
    try:
        with Path(f"{database}-shm").open("rb") as index:
            index.seek(_CHANGES_AT)
            [changes] = struct.unpack("=I", index.read(4))
    except (OSError, struct.error):
        return 0
    return changes


def children(pid: int) -> dict[str, int]:
    """Give the children of a process by the Python module that each runs."""
    found: dict[str, int] = {}
    for child in child_pids(pid):
        words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
        if "-m" in words:
            found[words[words.index("-m") + 1]] = child
    return found


def child_pids(pid: int) -> list[int]:
    """Give the children of a process, the eldest first."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sorted(int(child) for task in tasks for child in (task / "children").read_text().split())
