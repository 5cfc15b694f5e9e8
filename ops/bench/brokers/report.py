"""How a run is shown: on the terminal, in Markdown and as JSON."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from lightning.events import now_text
from ops.bench.brokers.catalogue import SYSTEMS, System
from ops.bench.brokers.crew import SENDERS
from ops.bench.brokers.measure import Measured
from ops.bench.brokers.verdict import Outcome, Verdict, verdicts

#: Whose versions are told.
_PACKAGES = ("dramatiq", "azure-servicebus", "celery", "taskiq-service-bus", "faststream-azure-servicebus")

#: Share of the processors that others may take without spoiling the figures.
_QUIET = 0.15

_HEAD = (
    "",
    "enqueued/s",
    "drained/s",
    "p50 ms",
    "p99 ms",
    "CPU µs each",
    "steps/s",
    "lost",
    "doubled",
)


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the bench.

    Parameters:
      at: When it began (RFC 3339).
      machine: On what.
      versions: Of the packages that are compared.
      outcomes: What was found, by the keys of the systems.
    """

    at: str
    machine: str
    versions: str
    outcomes: Mapping[str, Outcome]

    def measured(self) -> list[tuple[System, Measured]]:
        """Give what was measured, in the order of the catalogue."""
        found = [(system, self.outcomes.get(system.key)) for system in SYSTEMS]
        return [(system, each) for system, each in found if isinstance(each, Measured)]

    def remarks(self) -> list[str]:
        """Say what was not measured, and why, and what was refused."""
        lines = [
            f"not measured: {system.title}: {each}"
            for system in SYSTEMS
            if isinstance(each := self.outcomes.get(system.key), str)
        ]
        return lines + [
            f"refused by {s.title}: {each.refused}" for s, each in self.measured() if each.refused
        ]


def begin(outcomes: Mapping[str, Outcome]) -> Run:
    """Note when and where a run begins."""
    cores = f"{os.cpu_count()} cores, {_processor()}, Python {platform.python_version()}"
    return Run(now_text(), cores, ", ".join(_versions()), outcomes)


def table(run: Run) -> Table:
    """Draw the figures for a terminal."""
    drawn = Table(box=None, pad_edge=False)
    drawn.add_column(no_wrap=True)
    for head in _HEAD[1:]:
        drawn.add_column(head, justify="right")
    for system, measured in run.measured():
        drawn.add_row(*_row(system, measured))
    return drawn


def notes(run: Run) -> str:
    """Say what stands below the figures."""
    lines = [
        f"{run.machine}; {run.at[:10]}. {_disturbance(run)} With {run.versions}.",
        *map(str, judged(run)),
        *run.remarks(),
    ]
    return "\n".join(lines)


def _disturbance(run: Run) -> str:
    share = max((each.others for _, each in run.measured()), default=0.0)
    again = " The figures say little: run it again when they rest." if share > _QUIET else ""
    return f"Other programs took up to {share:.0%} of the processors meanwhile.{again}"


def markdown(run: Run) -> str:
    """Write the figures as the README shows them."""
    lines = [_line(_HEAD), "|---" + "|--:" * (len(_HEAD) - 1) + "|"]
    lines += [_line(_row(system, measured)) for system, measured in run.measured()]
    below = notes(run).splitlines()
    return "\n".join([*lines, "", below[0], "", *(f"- {line}" for line in below[1:]), ""])


def document(run: Run) -> dict[str, Any]:
    """Give the figures as JSON."""
    systems = {
        key: {"missing": outcome} if isinstance(outcome, str) else asdict(outcome)
        for key, outcome in run.outcomes.items()
    }
    for system in SYSTEMS:
        if system.key in systems:
            shape = {"title": system.title, "processes": system.processes, "threads": system.threads}
            systems[system.key] |= {**shape, "round_trip_ms": system.round_trip_ms}
    return {
        "at": run.at,
        "machine": run.machine,
        "versions": run.versions,
        "senders": SENDERS,
        "systems": systems,
        "verdicts": [asdict(each) for each in judged(run)],
    }


def judged(run: Run) -> list[Verdict]:
    """Judge a run."""
    return verdicts(run.outcomes)


def _row(system: System, measured: Measured) -> list[str]:
    return [
        system.title,
        f"{measured.enqueued_per_second:,.0f}",
        f"{measured.drained_per_second:,.0f}",
        f"{measured.idle_p50_ms:.1f}",
        f"{measured.idle_p99_ms:.1f}",
        f"{measured.cpu_us_per_message:,.0f}",
        f"{measured.steps_per_second:,.0f}",
        str(measured.lost),
        str(measured.doubled),
    ]


def _line(cells: tuple[str, ...] | list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _versions() -> list[str]:
    installed = {each.name for each in importlib.metadata.distributions()} & set(_PACKAGES)
    return [f"{each} {importlib.metadata.version(each)}" for each in _PACKAGES if each in installed]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.machine()
