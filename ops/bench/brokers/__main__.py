"""`make bench-brokers`: our brokers beside those that people would pick instead."""

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ops.bench.brokers import readme, report
from ops.bench.brokers.catalogue import SYSTEMS
from ops.bench.brokers.compare import compare, write
from ops.bench.brokers.measure import FULL, QUICK

_KEYS = [system.key for system in SYSTEMS]


def main(
    only: Annotated[
        list[str] | None, typer.Option(help=f"Measure this system; again for more of {', '.join(_KEYS)}.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write brokers.json, .svg and .md into this directory.")
    ] = None,
    *,
    quick: Annotated[bool, typer.Option(help="Few messages, at most a minute.")] = False,
    write_readme: Annotated[
        bool, typer.Option("--readme", help="Write the figures into README.md of the current directory.")
    ] = False,
) -> None:
    """Measure all systems that are installed, one after the other, and say which are not."""
    # told to stop, we stop what we started
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    if unknown := set(only or ()) - set(_KEYS):
        raise typer.BadParameter(f"no such system: {', '.join(unknown)}; there are {', '.join(_KEYS)}")
    chosen = [system for system in SYSTEMS if only is None or system.key in only]
    run = compare(chosen, QUICK if quick else FULL, lambda line: print(line, file=sys.stderr))
    Console(width=120).print(report.table(run))
    print(f"\n{report.notes(run)}")
    if out is not None:
        write(run, out)
    if write_readme:
        readme.write(run, Path())


if __name__ == "__main__":
    typer.run(main)
