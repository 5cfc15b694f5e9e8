"""`make bench`: what the platform does in a second on this machine, and what bounds it."""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lightning.events import now_text
from ops.bench.plan import Kind, Plan, Result
from ops.bench.report import document, table
from ops.bench.target import Target

#: One measurement ends after so long, whatever happens.
LIMIT_SECONDS = 40.0


def measure(plan: Plan) -> Result:
    """Run a measurement in a process of its own.

    Raises:
      typer.Exit: It failed; why stands on standard error.
    """
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.load"],
        input=orjson.dumps(asdict(plan)),
        stdout=subprocess.PIPE,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    if done.returncode:
        raise typer.Exit(1)
    return Result(**orjson.loads(done.stdout))


def _plan(kind: Kind, target: Target, *, events: int = 0, seconds: float, connections: int = 1) -> Plan:
    return Plan(
        kind,
        target.url,
        target.tokens,
        connections=connections,
        events=events,
        seconds=seconds,
        processes=target.processes(),
        databases=target.databases(),
    )


def ingress(users: int) -> dict[str, Result]:
    """Measure one ingress process, and beside it what its store alone can do."""
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"LIGHTNING_LOG_LEVEL": "warning"}
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=False))
        for connections in (32, 64):
            results[f"store alone, {connections} writers"] = measure(
                Plan("ceiling", connections=connections, events=40_000, seconds=2.5)
            )
            results[f"accepted, {connections} connections"] = measure(
                _plan("accept", target, connections=connections, events=40_000, seconds=5)
            )
    return results


def whole(users: int, workers: int, threads: int) -> dict[str, Result]:
    """Measure a platform as `lightning up` starts it, from the post to the end of the step."""
    results: dict[str, Result] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        environment = {"LIGHTNING_WORKERS": str(workers), "LIGHTNING_THREADS": str(threads)}
        target = stack.enter_context(Target(Path(folder), users=users, environment=environment, whole=True))
        latency = _plan("latency", target, events=200, seconds=10)
        throughput = _plan("throughput", target, connections=32, seconds=10)
        for kind, events in (("user.message", 4000), ("llm.chat", 2000)):
            results[f"idle, {kind} to done"] = measure(replace(latency, type=kind))
            results[f"done, {kind}"] = measure(replace(throughput, type=kind, events=events))
            time.sleep(1)  # what the answers bring about ends before the next measurement
    return results


def main(
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
    users: Annotated[int, typer.Option(help="Users who post.")] = 8,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of a worker.")] = 16,
) -> None:
    """Measure, print a table, and write it to a file if one is named."""
    # told to stop, we stop what we started
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    began = time.monotonic()
    results = {**ingress(users), **whole(users, workers, threads)}
    print(table(results))
    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {users} users, {workers} worker")
    print(f"with {threads} threads; loopback, echo model; {time.monotonic() - began:.0f} s in all")
    if json is not None:
        report = {"at": now_text(), "users": users, "workers": workers, "threads": threads}
        json.write_bytes(orjson.dumps({**report, "results": document(results)}, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    typer.run(main)
