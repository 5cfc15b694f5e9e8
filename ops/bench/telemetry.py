"""What telemetry costs: events from the post to the end of the step, without it and with it.

The rate says what an operator sees, and is as good as the machine is quiet. What stands for Application
Insights is a process on the same cores, which on Azure it is not: so it only reads, counts and answers, and
its own processor time is told beside. That of the platform's own processes says what telemetry costs; it is
read when all that was told has arrived.
"""

import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from uuid import UUID

import httpx2
import typer

from lightning.telemetry.setup import OUTWARD_DELAY_SECONDS
from ops.bench.ingestion import COUNT_PATH
from ops.bench.plan import Plan, Result
from ops.bench.scenarios import measure
from ops.bench.target import Target

#: Each way is measured so often, in turns: what else a machine does meanwhile is no cost of ours.
ROUNDS = 5

#: Events before those that are counted.
WARM_UP = 300

#: What an event tells at least: its request, the sending of its message, and its step.
SPANS = 3

#: After the last event is done, what it told is on its way for less.
SETTLE_SECONDS = 2 * OUTWARD_DELAY_SECONDS

#: The processes that are the platform's.
_OURS = ("ingress", "worker")


@dataclass(frozen=True, slots=True)
class _Destination:
    """What stands for Application Insights (`ops.bench.ingestion`): its address, and its process id."""

    url: str
    pid: int

    @property
    def connection(self) -> str:
        """How the exporter finds it."""
        return f"InstrumentationKey={UUID(int=1)};IngestionEndpoint={self.url}/"

    def taken(self) -> int:
        """Give how many spans it took so far."""
        return httpx2.get(f"{self.url}{COUNT_PATH}", trust_env=False).json()


def telemetry(
    users: int, workers: int, threads: int, *, events: int = 4000, rounds: int = ROUNDS
) -> dict[str, Result]:
    """Measure a platform that makes no spans, one that keeps its spans, and one that sends them; all of them.

    Returns:
      The best rate of each way. Its figures are medians of the rounds: the milliseconds of processor time
      that an event took of each process, and how much of the rate was lost and of the time was added, in
      percent of the round's own platform without telemetry.

    Raises:
      typer.Exit: Not all that was to be told had arrived when the time was read.
    """
    found: dict[str, list[Result]] = {}
    with _destination() as destination:
        ways: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
            "none": ({"LIGHTNING_SPANS": "0"}, {"OTEL_SDK_DISABLED": "true"}),
            "spans.db": ({}, {}),
            "Application Insights": (
                {"LIGHTNING_SPANS": "0", "APPLICATIONINSIGHTS_CONNECTION_STRING": destination.connection},
                {},
            ),
        }
        size = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        for _ in range(rounds):
            for way, (settings, libraries) in ways.items():
                result, arrived = _throughput(users, events, {**size, **settings}, libraries, destination)
                check(way, result, arrived)
                found.setdefault(way, []).append(result)
    return {f"done, telemetry: {way}": summary(each, found["none"]) for way, each in found.items()}


def check(way: str, result: Result, arrived: Mapping[str, int]) -> None:
    """See that all was there that events tell when the time was read.

    Parameters:
      way: How it was measured.
      result: What was measured.
      arrived: How many spans there were, by the ways that have any.

    Raises:
      typer.Exit: Some were still on their way, so their cost is not in the result.
    """
    if way in arrived and arrived[way] < SPANS * result.events:
        print(f"{way} had {arrived[way]} spans of {result.events} events in time", file=sys.stderr)
        raise typer.Exit(1)


def summary(results: Sequence[Result], without: Sequence[Result]) -> Result:
    """Make one result of those of a way.

    Parameters:
      results: Of the way, one a round.
      without: Of the platform that makes no spans; the same ones where that is the way.
    """
    best = max(results, key=lambda each: each.per_second)
    figures = {f"ms of {name}": _milliseconds(results, [name]) for name in _OURS}
    if results is not without:
        # one after the other, so that both were disturbed alike
        pairs = list(zip(results, without, strict=True))
        rates = [each.per_second / other.per_second for each, other in pairs]
        figures["% of the rate lost"] = (1 - median(rates)) * 100
        times = [_milliseconds([each], _OURS) / _milliseconds([other], _OURS) for each, other in pairs]
        figures["% of processor time added"] = (median(times) - 1) * 100
    return replace(best, figures=figures)


def _milliseconds(results: Sequence[Result], names: Sequence[str]) -> float:
    """Give the processor time that an event took in some processes together, the median of all rounds."""
    return median(sum(each.cost[f"cpu {name}"] for name in names) / each.events * 1000 for each in results)


def _throughput(
    users: int,
    events: int,
    environment: Mapping[str, str],
    libraries: Mapping[str, str],
    destination: _Destination,
) -> tuple[Result, dict[str, int]]:
    """Measure one platform; give also how much arrived in each place."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        target = stack.enter_context(
            Target(folder, users=users, environment=environment, libraries=libraries, whole=True)
        )
        plan = Plan("throughput", target.url, target.tokens, connections=32, events=WARM_UP, seconds=10)
        measure(plan)
        before = destination.taken()
        processes = {**target.processes(), "ingestion": destination.pid}
        plan = replace(plan, events=events, settle_seconds=SETTLE_SECONDS)
        result = measure(replace(plan, processes=processes, databases=target.databases()))
        arrived = {
            "spans.db": _kept(folder / "spans.db"),
            "Application Insights": destination.taken() - before,
        }
        return result, arrived


def _kept(path: Path) -> int:
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT count(*) FROM spans").fetchone()[0]


@contextmanager
def _destination() -> Generator[_Destination]:
    command = [sys.executable, "-m", "ops.bench.ingestion"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None or not (port := process.stdout.readline().strip()):
                raise OSError("what stands for Application Insights says nothing")
            yield _Destination(f"http://127.0.0.1:{port}", process.pid)
        finally:
            process.terminate()
