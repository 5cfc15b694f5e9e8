"""Measures systems one after the other, and writes down what was found."""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from ops.bench.brokers.catalogue import System
from ops.bench.brokers.chart import svg
from ops.bench.brokers.measure import Amounts, measure
from ops.bench.brokers.process import ChildFailed
from ops.bench.brokers.report import Run, begin, document, markdown
from ops.bench.brokers.servers import ServerFailed
from ops.bench.brokers.verdict import Outcome


def compare(systems: Sequence[System], amounts: Amounts, say: Callable[[str], None]) -> Run:
    """Measure systems; one that cannot be measured does not keep the others from it.

    Parameters:
      systems: Which ones.
      amounts: How much of each.
      say: Is told what is under way.
    """
    outcomes: dict[str, Outcome] = {}
    run = begin(outcomes)
    deadline = time.monotonic() + amounts.all_seconds
    for system in systems:
        say(f"{system.title} ...")
        outcomes[system.key] = outcome = _measure(system, amounts, deadline)
        if isinstance(outcome, str):
            say(f"  not measured: {outcome}")
    return run


def write(run: Run, folder: Path) -> None:
    """Write a run into a directory, in every form."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "brokers.json").write_bytes(orjson.dumps(document(run), option=orjson.OPT_INDENT_2))
    (folder / "brokers.svg").write_text(svg(run))
    (folder / "brokers.md").write_text(markdown(run))


def _measure(system: System, amounts: Amounts, deadline: float) -> Outcome:
    if reason := system.missing():
        return reason
    left = deadline - time.monotonic()
    if left < amounts.system_seconds / 4:
        return "the time was up before its turn came"
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        try:
            until = time.monotonic() + min(left, amounts.system_seconds)
            return measure(system, amounts, Path(folder), deadline=until)
        except (ChildFailed, ServerFailed) as error:
            return str(error)
