"""What an evaluation found, as a table for people and as JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Column, Table

from ops.commands import output
from ops.eval.judging import Came, Prices
from ops.eval.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Judged:
    """A scenario that was run.

    Parameters:
      scenario: The scenario.
      came: What came of it.
      problems: What is not as it was expected; none: it is passed.
    """

    scenario: Scenario
    came: Came
    problems: Sequence[str]


def as_json(judged: Sequence[Judged], prices: Prices | None, about: dict[str, Any]) -> dict[str, Any]:
    """Give an evaluation as JSON.

    Parameters:
      judged: Its scenarios.
      prices: What the model costs.
      about: What was evaluated, by whatever names.
    """
    rows = [
        {
            "name": each.scenario.name,
            "title": each.scenario.title,
            "passed": not each.problems,
            "problems": list(each.problems),
            "status": each.came.status,
            "result": each.came.result,
            "runID": each.came.run_id,
            "commits": each.came.commits,
            "metrics": dict(each.came.metrics),
            "tokens": each.came.tokens,
            "seconds": each.came.seconds,
            "cost": each.came.cost(prices),
        }
        for each in judged
    ]
    passed = sum(not each.problems for each in judged)
    return {**about, "passed": passed, "failed": len(judged) - passed, "scenarios": rows}


def as_table(judged: Sequence[Judged], prices: Prices | None) -> Table:
    """Give an evaluation as a table, with what is wrong below each scenario that failed."""
    right = [Column(name, justify="right", no_wrap=True) for name in ("commands", "tokens", "seconds")]
    money = [] if prices is None else [Column("cost", justify="right", no_wrap=True)]
    commits = Column("commits", justify="right", no_wrap=True)
    table = Table(Column("scenario", no_wrap=True), "", *right, *money, commits, box=None)
    for each in judged:
        verdict = "[red]failed[/red]" if each.problems else "[green]passed[/green]"
        came = each.came
        cells = [_number(came.metrics.get("commands")), _number(came.tokens), _number(came.seconds, ".1f")]
        cells += [] if prices is None else [_number(came.cost(prices), ".4f")]
        verdict += "".join(f"\n{escape(output.one_line(problem))}" for problem in each.problems)
        table.add_row(escape(each.scenario.name), verdict, *cells, str(came.commits))
    return table


def total(judged: Sequence[Judged], prices: Prices | None) -> str:
    """Give an evaluation in one line."""
    passed = sum(not each.problems for each in judged)
    tokens = sum(each.came.tokens or 0 for each in judged)
    spent = "" if prices is None else f", cost {sum(each.came.cost(prices) or 0 for each in judged):.4f}"
    return f"{passed} of {len(judged)} passed, {tokens} tokens{spent}"


def _number(value: float | None, form: str = ".0f") -> str:
    return "-" if value is None else format(value, form)
