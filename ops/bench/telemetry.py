"""What telemetry costs: events from the post to the end of the step, without it and with it.

The rate says what an operator sees, and is as good as the machine is quiet: a destination on the same cores
takes its part of them, which on Azure it does not. The processor time of the platform's own processes says
what telemetry costs.
"""

import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from ops.bench.plan import Plan, Result
from ops.bench.scenarios import measure
from ops.bench.target import Target

#: Each way is measured so often, in turns: what else a machine does meanwhile is no cost of ours.
ROUNDS = 3

#: Events before those that are counted.
WARM_UP = 300

#: The processes that are the platform's.
_OURS = ("ingress", "worker")


@dataclass(frozen=True, slots=True)
class _Monitor:
    """The emulator of Application Insights: how it is reached, and its process id."""

    connection: str
    pid: int


def telemetry(
    users: int, workers: int, threads: int, *, events: int = 4000, rounds: int = ROUNDS
) -> dict[str, Result]:
    """Measure a platform that makes no spans, one that keeps its spans, and one that sends them; all of them.

    Returns:
      The best rate of each way. Its figures are medians: the milliseconds of processor time that an event
      took of each process, and how much of the rate was lost and of the time was added, in percent.
    """
    found: dict[str, list[Result]] = {}
    with _monitor() as monitor:
        ways: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
            "none": ({"LIGHTNING_SPANS": "0"}, {"OTEL_SDK_DISABLED": "true"}),
            "spans.db": ({}, {}),
            "Application Insights": (
                {"LIGHTNING_SPANS": "0", "APPLICATIONINSIGHTS_CONNECTION_STRING": monitor.connection},
                {},
            ),
        }
        size = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        for _ in range(rounds):
            for way, (settings, libraries) in ways.items():
                result = _throughput(users, events, {**size, **settings}, libraries, monitor.pid)
                found.setdefault(way, []).append(result)
    return {f"done, telemetry: {way}": summary(each, found["none"]) for way, each in found.items()}


def summary(results: Sequence[Result], without: Sequence[Result]) -> Result:
    """Make one result of those of a way.

    Parameters:
      results: Of the way, one a round.
      without: Of the platform that makes no spans; the same ones where that is the way.
    """
    best = max(results, key=lambda each: each.per_second)
    figures = {f"ms of {name}": _milliseconds(results, [name]) for name in _OURS}
    if results is not without:
        rate = best.per_second / max(each.per_second for each in without)
        figures["% of the rate lost"] = (1 - rate) * 100
        time = _milliseconds(results, _OURS) / _milliseconds(without, _OURS)
        figures["% of processor time added"] = (time - 1) * 100
    return replace(best, figures=figures)


def _milliseconds(results: Sequence[Result], names: Sequence[str]) -> float:
    """Give the processor time that an event took in some processes together, the median of all rounds."""
    return median(sum(each.cost[f"cpu {name}"] for name in names) / each.events * 1000 for each in results)


def _throughput(
    users: int, events: int, environment: Mapping[str, str], libraries: Mapping[str, str], monitor: int
) -> Result:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        target = stack.enter_context(
            Target(Path(folder), users=users, environment=environment, libraries=libraries, whole=True)
        )
        plan = Plan("throughput", target.url, target.tokens, connections=32, events=WARM_UP, seconds=10)
        measure(plan)
        processes = {**target.processes(), "emulator": monitor}
        return measure(replace(plan, events=events, processes=processes, databases=target.databases()))


@contextmanager
def _monitor() -> Generator[_Monitor]:
    command = [sys.executable, "-m", "ops.emulators.monitor", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise OSError("the emulator says nothing")
            yield _Monitor(process.stdout.readline().strip(), process.pid)
        finally:
            process.terminate()
