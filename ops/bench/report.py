"""How the figures are shown."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ops.bench.plan import Result

_ROW = "{:<34} {:>7} {:>9} {:>8} {:>8} {:>8}"


def table(results: Mapping[str, Result]) -> str:
    """Draw the figures, and below them what each event cost."""
    lines = [_ROW.format("", "events", "events/s", "p50 ms", "p99 ms", "max ms")]
    for name, each in results.items():
        times = [f"{value:.1f}" for value in (each.p50_ms, each.p99_ms, each.max_ms)]
        if each.accepted_per_second is None:
            lines.append(_ROW.format(name, each.events, f"{each.per_second:,.0f}", *times))
        else:
            lines.append(_ROW.format(name, each.events, f"{each.per_second:,.0f}", "", "", ""))
            rate = f"{each.accepted_per_second:,.0f}"
            lines.append(_ROW.format("  accepted meanwhile", each.events, rate, *times))
        for other, spread in each.beside.items():
            lines.append(_ROW.format(f"  {other}", "", "", *(f"{value:.1f}" for value in spread)))
    lines += [f"{name}: {_figures(each)}" for name, each in results.items() if each.figures]
    lines += ["", "What one event cost: processor time in ms (share of one core); transactions"]
    lines += [f"{name:<34} {_cost(each)}" for name, each in results.items()]
    return "\n".join(lines)


def _cost(result: Result) -> str:
    parts: list[str] = []
    for name, value in result.cost.items():
        kind, _, what = name.partition(" ")
        if kind == "cpu":
            share = value / result.seconds
            parts.append(f"{what} {value / result.events * 1000:.3f} ({share:.0%})")
        elif value:
            parts.append(f"{what} {value / result.events:.2f} transactions")
    return ", ".join(parts)


def _figures(result: Result) -> str:
    return ", ".join(f"{name} {value:,.1f}" for name, value in result.figures.items())


def document(results: Mapping[str, Result]) -> dict[str, Any]:
    """Give the figures as JSON."""
    return {
        name: {**asdict(each), "events_per_second": round(each.per_second, 1)}
        for name, each in results.items()
    }
