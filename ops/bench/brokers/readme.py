"""Writes the figures of a run into the README, and the chart beside this file."""

from pathlib import Path

from ops.bench.brokers import report
from ops.bench.brokers.chart import svg

BEGIN, END = "<!-- brokers -->\n", "<!-- /brokers -->"

CHART = "ops/bench/brokers/brokers.svg"


def write(run: report.Run, root: Path) -> None:
    """Write a run into the README of a repository.

    Raises:
      ValueError: It has no place for it.
    """
    readme = root / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no {BEGIN.strip()} and {END} where the figures belong")
    chart = f"![What each broker drains in a second, and how long one message takes]({CHART})"
    readme.write_text(f"{before}{BEGIN}\n{report.markdown(run)}\n{chart}\n\n{END}{after}")
    (root / CHART).write_text(svg(run))
