"""What telemetry costs: events from the post to the end of the step, without it and with it."""

import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from ops.bench.plan import Plan, Result
from ops.bench.scenarios import measure
from ops.bench.target import Target

#: Each way is measured so often, in turns, and the best counts: what else a machine does is no cost of ours.
ROUNDS = 3

_WAYS = ("none", "spans.db", "Application Insights")


def telemetry(users: int, workers: int, threads: int, *, events: int = 4000) -> dict[str, Result]:
    """Measure a platform that tells nothing, one that keeps its spans, and one that sends them; all of them.

    The destination is an emulator on the same machine, so what it takes is counted against the platform.
    """
    best: dict[str, Result] = {}
    with _monitor() as connection:
        for _ in range(ROUNDS):
            for way in _WAYS:
                environment = {
                    "LIGHTNING_WORKERS": str(workers),
                    "LIGHTNING_THREADS": str(threads),
                    **_settings(way, connection),
                }
                result = _throughput(users, events, environment)
                if way not in best or result.per_second > best[way].per_second:
                    best[way] = result
    without = best["none"].per_second
    lost = {way: {"lost, in percent": (1 - best[way].per_second / without) * 100} for way in _WAYS[1:]}
    return {f"done, telemetry: {way}": replace(best[way], figures=lost.get(way, {})) for way in _WAYS}


def _settings(way: str, connection: str) -> Mapping[str, str]:
    if way == "spans.db":
        return {}
    sent = {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection} if way == "Application Insights" else {}
    return {"LIGHTNING_SPANS": "0", **sent}


def _throughput(users: int, events: int, environment: Mapping[str, str]) -> Result:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=True))
        plan = Plan("throughput", target.url, target.tokens, connections=32, events=events, seconds=10)
        return measure(replace(plan, processes=target.processes(), databases=target.databases()))


@contextmanager
def _monitor() -> Generator[str]:
    command = [sys.executable, "-m", "ops.emulators.monitor", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise OSError("the emulator says nothing")
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
