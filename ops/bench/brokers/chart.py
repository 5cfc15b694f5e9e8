"""Draws a run as an SVG image: bars for what is drained in a second and for how long one message takes."""

import math
from collections.abc import Callable, Sequence
from html import escape

from ops.bench.brokers.report import Run

_WIDTH, _LABEL, _BAR, _ROW, _HEAD = 860, 270, 420, 24, 34

_Row = tuple[str, float, str]


def svg(run: Run) -> str:
    """Draw a run.

    Returns:
      An SVG document: one panel of bars in proportion, one of bars on a logarithmic scale.
    """
    drained = [
        (system.title, each.drained_per_second, f"{each.drained_per_second:,.0f}")
        for system, each in run.measured()
    ]
    idle = [
        (system.title, each.idle_p50_ms, f"{each.idle_p50_ms:.1f} / {each.idle_p99_ms:.1f}")
        for system, each in run.measured()
    ]
    panels: list[str] = []
    top = 12
    for title, rows, share in (
        ("No-op actor, drained messages a second", drained, _proportional),
        ("Idle, one message: p50 / p99 in ms (bar: p50, logarithmic)", idle, _logarithmic),
    ):
        panels.append(_panel(title, rows, share, top))
        top += _HEAD + _ROW * len(rows) + 16
    caption = escape(f"{run.machine}; {run.at[:10]}")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top + 24}" '
        f'font-family="sans-serif" font-size="13" fill="#222">\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n{"".join(panels)}'
        f'<text x="12" y="{top + 10}" font-size="11" fill="#666">{caption}</text>\n</svg>\n'
    )


def _panel(title: str, rows: Sequence[_Row], share: Callable[[float, float], float], top: int) -> str:
    lines = [f'<text x="12" y="{top + 16}" font-weight="bold">{escape(title)}</text>\n']
    longest = max((value for _, value, _ in rows), default=1.0)
    for number, (name, value, shown) in enumerate(rows):
        y = top + _HEAD + number * _ROW
        width = max(1, round(_BAR * share(value, longest)))
        ours = name.startswith("Lightning")
        lines.append(
            f'<text x="{_LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{_LABEL}" y="{y}" width="{width}" height="16" fill="{"#c60" if ours else "#9ab"}"/>'
            f'<text x="{_LABEL + width + 6}" y="{y + 12}">{escape(shown)}</text>\n'
        )
    return "".join(lines)


def _proportional(value: float, longest: float) -> float:
    return value / longest


def _logarithmic(value: float, longest: float) -> float:
    return math.log10(1 + 10 * value) / math.log10(1 + 10 * longest)
