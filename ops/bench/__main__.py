"""`make bench`: what the platform does in a second on this machine, and what bounds it."""

import os
import platform
import signal
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer

from lightning.events import now_text
from ops.bench import scenarios
from ops.bench.hanging import hanging
from ops.bench.pages import pages
from ops.bench.plan import Result
from ops.bench.report import document, table
from ops.bench.request_units import request_units
from ops.bench.sandbox import sandbox
from ops.bench.schedule_units import schedule_units
from ops.bench.schedules import schedules
from ops.bench.telemetry import telemetry


class Part(StrEnum):
    """What can be measured alone."""

    INGRESS = "ingress"
    PLATFORM = "platform"
    FIRST_TOKEN = "first-token"  # noqa: S105 -- of an answer
    NEIGHBOURS = "neighbours"
    IDLE_STREAMS = "idle-streams"
    PAGES = "pages"
    RUNS = "runs"
    REQUEST_UNITS = "request-units"
    SANDBOX = "sandbox"
    SCHEDULES = "schedules"
    TELEMETRY = "telemetry"


def main(
    parts: Annotated[
        list[Part] | None, typer.Argument(help="What to measure; everything by default.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
    users: Annotated[int, typer.Option(help="Users who post.")] = 8,
    workers: Annotated[int, typer.Option(help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option(help="Threads of a worker.")] = 16,
    streams: Annotated[int, typer.Option(min=1, help="Streams that are held open.")] = 3000,
    runs: Annotated[int, typer.Option(min=1, max=500, help="Runs that start at once.")] = 50,
    events: Annotated[
        int, typer.Option(min=5000, help="Events that are stored when pages are asked for.")
    ] = 1_000_000,
    stored: Annotated[int, typer.Option(min=2, help="Schedules that are stored, and not due.")] = 100_000,
    due: Annotated[int, typer.Option(min=1, max=40_000, help="Schedules that are due together.")] = 10_000,
) -> None:
    """Measure, print a table, and write it to a file if one is named."""
    # told to stop, we stop what we started
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    began = time.monotonic()
    load = os.getloadavg()[0]
    measurements = {
        Part.INGRESS: lambda: scenarios.ingress(users),
        Part.PLATFORM: lambda: scenarios.whole(users, workers, threads),
        Part.FIRST_TOKEN: lambda: scenarios.first_token(workers, threads),
        Part.NEIGHBOURS: lambda: scenarios.neighbours(workers, threads) | hanging(workers, threads),
        Part.IDLE_STREAMS: lambda: scenarios.idle_streams(streams),
        Part.PAGES: lambda: pages(events),
        Part.RUNS: lambda: scenarios.runs(workers, threads, at_once=runs),
        Part.REQUEST_UNITS: lambda: request_units(whole=False) | request_units(whole=True) | schedule_units(),
        Part.SANDBOX: lambda: sandbox(runs),
        Part.SCHEDULES: lambda: schedules(stored, due),
        Part.TELEMETRY: lambda: telemetry(users, workers, threads),
    }
    results: dict[str, Result] = {}
    for part in parts or list(Part):
        results |= measurements[part]()
    print(table(results))
    print(f"\n{os.cpu_count()} cores, Python {platform.python_version()}, {users} users, {workers} worker")
    print(f"with {threads} threads; loopback, echo model or a scripted one on loopback; load average")
    print(f"{load:.1f} before the first measurement; {time.monotonic() - began:.0f} s in all")
    if json is not None:
        report = {"at": now_text(), "users": users, "workers": workers, "threads": threads}
        json.write_bytes(orjson.dumps({**report, "results": document(results)}, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    typer.run(main)
