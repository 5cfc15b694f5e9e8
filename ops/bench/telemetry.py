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
from itertools import islice
from pathlib import Path
from statistics import median, quantiles
from uuid import UUID

import httpx2
import typer

from lightning.telemetry.setup import OUTWARD_DELAY_SECONDS
from ops.bench.ingestion import COUNT_PATH
from ops.bench.plan import Plan, Result
from ops.bench.scenarios import measure
from ops.bench.target import Target

#: Each way is measured so often, in turns within seconds: what else a machine does is no cost of ours.
ROUNDS = 24

#: Events before those that are counted.
WARM_UP = 1000

#: What an event tells at least: its request, the sending of its message, and its step.
SPANS = 3

#: After the last event is done, what it told is on its way for less.
SETTLE_SECONDS = 1.5 * OUTWARD_DELAY_SECONDS

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
    users: int,
    workers: int,
    threads: int,
    *,
    events: int = 2000,
    rounds: int = ROUNDS,
    warm_up: int = WARM_UP,
) -> dict[str, Result]:
    """Measure a platform that makes no spans, one that keeps its spans, and one that sends them; all of them.

    All three are up from the beginning to the end, and one of them at a time has something to do.

    Parameters:
      users: How many post in each round; nobody posts in two.
      workers: Of each platform.
      threads: Of each worker.
      events: How many each platform is given in a round.
      rounds: How often each has its turn; in each round another one begins.
      warm_up: Events that each platform is given before.

    Returns:
      The best rate of each way, and figures of all rounds (`summary`).

    Raises:
      typer.Exit: Not all that was to be told had arrived when the time was read.
    """
    found: dict[str, list[Result]] = {}
    with ExitStack() as stack:
        destination = stack.enter_context(_destination())
        ways: Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]] = {
            "none": ({"LIGHTNING_SPANS": "0"}, {"OTEL_SDK_DISABLED": "true"}),
            "spans.db": ({}, {}),
            "Application Insights": (
                {"LIGHTNING_SPANS": "0", "APPLICATIONINSIGHTS_CONNECTION_STRING": destination.connection},
                {},
            ),
        }
        size = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        platforms: dict[str, Target] = {}
        for way, (settings, libraries) in ways.items():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            environment = {**size, **settings}
            target = Target(
                folder,
                users=users * (rounds + 1),
                environment=environment,
                libraries=libraries,
                whole=True,
            )
            platforms[way] = stack.enter_context(target)
            _round(target, destination, users, 0, warm_up)
        for turn in range(1, rounds + 1):
            for way in _in_turn(list(ways), turn):
                result, arrived = _round(platforms[way], destination, users, turn, events)
                check(way, result, arrived)
                found.setdefault(way, []).append(result)
    return {f"done, telemetry: {way}": summary(found[way], found["none"]) for way in ways}


def _in_turn(ways: Sequence[str], turn: int) -> list[str]:
    """Order the ways so that each is the first as often, and follows the others."""
    first = turn % len(ways)
    return [*ways[first:], *ways[:first]]


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

    Returns:
      The best one. Its figures are medians of the rounds: the rate; the milliseconds of processor time that
      an event took of each process; and how much of the rate was lost and of the time was added, in percent
      of the same round's platform without telemetry, each with its quartiles.
    """
    best = max(results, key=lambda each: each.per_second)
    figures = {
        "events/s": median(each.per_second for each in results),
        **{f"ms of {name}": median(_milliseconds(each, [name]) for each in results) for name in _OURS},
    }
    if results is not without:
        # one after the other, so that both were disturbed alike
        pairs = list(zip(results, without, strict=True))
        lost = [(1 - each.per_second / other.per_second) * 100 for each, other in pairs]
        added = [
            (_milliseconds(each, _OURS) / _milliseconds(other, _OURS) - 1) * 100 for each, other in pairs
        ]
        figures |= _spread("% of the rate lost", lost) | _spread("% of processor time added", added)
    return replace(best, figures=figures)


def _spread(name: str, values: Sequence[float]) -> dict[str, float]:
    """Give the median, and the quartiles where there are any."""
    if len(values) == 1:
        return {name: values[0]}
    lower, middle, upper = quantiles(values, n=4, method="inclusive")
    return {name: middle, f"{name}, lower quartile": lower, f"{name}, upper quartile": upper}


def _milliseconds(result: Result, names: Sequence[str]) -> float:
    """Give the processor time that an event took in some processes together."""
    return sum(result.cost[f"cpu {name}"] for name in names) / result.events * 1000


def _round(
    target: Target, destination: _Destination, users: int, turn: int, events: int
) -> tuple[Result, dict[str, int]]:
    """Have users who have nothing yet post to a platform; give also how much arrived in each place."""
    spans = target.data / "spans.db"
    before = {"spans.db": _stored(spans), "Application Insights": destination.taken()}
    tokens = dict(islice(target.tokens.items(), turn * users, (turn + 1) * users))
    plan = Plan("throughput", target.url, tokens, connections=32, events=events, seconds=20)
    processes = {**target.processes(), "ingestion": destination.pid}
    result = measure(
        replace(plan, settle_seconds=SETTLE_SECONDS, processes=processes, databases=target.databases())
    )
    after = {"spans.db": _stored(spans), "Application Insights": destination.taken()}
    return result, {way: count - before[way] for way, count in after.items()}


def _stored(path: Path) -> int:
    """Give how many spans were ever put into a store, though it keeps but the latest."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT coalesce(max(position), 0) FROM spans").fetchone()[0]


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
