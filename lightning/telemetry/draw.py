"""Draws a trace: a tree of its spans beside a waterfall of their times."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lightning.prices import Prices
from lightning.telemetry import names
from lightning.telemetry.reading import Spending, queued_ns, spending_of, total
from lightning.telemetry.spans import Span

#: Where nobody has said what tokens cost.
NO_PRICES: Final[Prices] = {}

#: Columns of the waterfall.
BAR_WIDTH: Final = 20

#: Columns of the tree's lines; a chain that is deeper runs on at the same indent.
MAX_GUIDE_WIDTH: Final = 36

# C0, DEL and C1 drive a terminal; the bidirectional controls reorder what a person reads;
# lone surrogates cannot be printed at all.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class _Line:
    """One span and its place in the tree."""

    span: Span
    guide: str
    orphan: bool


def draw(spans: Sequence[Span], prices: Prices = NO_PRICES) -> RenderableType:
    """Draw the spans of one or several traces.

    Text from outside is shown as text: neither rich's markup nor a terminal's
    control characters in it have an effect.

    Parameters:
      spans: In any order. A span whose parent is missing (not finished, or not
        stored yet) is drawn as a root and marked so.
      prices: What tokens cost.

    Returns:
      Something for ``rich.print``: for each trace a heading, a table and its errors.
    """
    if not spans:
        return Text("No spans are stored.")
    traces: dict[str, list[Span]] = {}
    for span in sorted(spans, key=_order):
        traces.setdefault(span.trace_id, []).append(span)
    parts = [
        part
        for trace in traces.values()
        for part in (_heading(trace, prices), _table(trace, prices), *_errors(trace))
    ]
    return Group(*parts)


def as_json(spans: Sequence[Span], prices: Prices = NO_PRICES) -> str:
    """Return the spans as a JSON array, the earliest first.

    Each also tells ``queued_ns``, how long its message was on the queue, and ``dollars``, what its call of a
    model cost; null where neither was.

    Parameters:
      spans: In any order.
      prices: What tokens cost.

    Returns:
      ASCII only, so that it can be printed anywhere.
    """
    return json.dumps([_told(span, prices) for span in sorted(spans, key=_order)], indent=2)


def _told(span: Span, prices: Prices) -> dict[str, object]:
    spent = spending_of(span, prices)
    return {**asdict(span), "queued_ns": queued_ns(span), "dollars": None if spent is None else spent.dollars}


def visible(text: str) -> str:
    r"""Return ``text`` on one line, its control characters written out, such as ``\x1b``.

    Parameters:
      text: Anything, from anybody.
    """
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape", "surrogatepass").decode(), text)


def _order(span: Span) -> tuple[int, int, str]:
    # Of two that begin together, the longer one is likelier the parent.
    return span.start_ns, -span.end_ns, span.span_id


def _heading(trace: list[Span], prices: Prices) -> Text:
    begin, end = trace[0].start_ns, max(span.end_ns for span in trace)
    errors = sum(span.status == "error" for span in trace)
    heading = Text.assemble(
        ("trace ", "bold"),
        (visible(trace[0].trace_id), "bold"),
        f"  {len(trace)} spans, {_milliseconds(end - begin)} ms",
    )
    if errors:
        heading.append(f", {errors} failed", "red")
    if queued := sum(queued_ns(span) or 0 for span in trace):
        heading.append(f", {_milliseconds(queued)} ms queued")
    spent = total(each for span in trace if (each := spending_of(span, prices)) is not None)
    if spent is not None:
        heading.append(f"\nmodels: calls {spent.calls}, tokens {_tokens(spent)}{_price(spent)}")
    for event_id in dict.fromkeys(span.event_id for span in trace if span.event_id):
        heading.append(f"\nevent {visible(event_id)}", "dim")
    return heading


def _table(trace: list[Span], prices: Prices) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("span", overflow="fold", ratio=1)
    table.add_column("process", overflow="fold")
    table.add_column("event", overflow="fold")
    table.add_column("queued", justify="right", no_wrap=True)
    table.add_column("ms", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, width=BAR_WIDTH)
    begin = trace[0].start_ns
    length_ns = max(1, max(span.end_ns for span in trace) - begin)
    for line in _lines(trace):
        span = line.span
        table.add_row(
            _title(line, prices),
            Text(visible(span.process), "dim"),
            Text(_event(span)),
            "" if (queued := queued_ns(span)) is None else _milliseconds(queued),
            _milliseconds(span.end_ns - span.start_ns),
            Text(_bar(span, begin, length_ns), "red" if span.status == "error" else "cyan"),
        )
    return table


def _title(line: _Line, prices: Prices) -> Text:
    guide = line.guide if len(line.guide) <= MAX_GUIDE_WIDTH else "…" + line.guide[1 - MAX_GUIDE_WIDTH :]
    title = Text.assemble((guide, "dim"))
    if line.span.status == "error":
        title.append(visible(line.span.name) + "  error", "red")
    else:
        title.append(visible(line.span.name))
        if line.span.status == "ok":
            title.append("  ok", "green")
    if (spent := spending_of(line.span, prices)) is not None:
        title.append(f"  {_tokens(spent)}{_price(spent)}", "dim")
    if line.orphan:
        title.append("  (parent not stored)", "dim")
    return title


def _errors(trace: list[Span]) -> Iterator[Text]:
    """Yield a line for each failed span; below the table there is room for its reason."""
    for span in trace:
        if span.status == "error":
            reasons = (span.attributes.get(names.ERROR_CODE), span.status_message)
            parts = [span.name, *(str(reason) for reason in reasons if reason)]
            yield Text("error  " + ": ".join(visible(part) for part in parts), "red")


def _tokens(spent: Spending) -> str:
    """Write tokens down as those given and those written; ``~`` where they are an estimate."""
    return f"{'~' if spent.estimated else ''}{spent.given} + {spent.written}"


def _price(spent: Spending) -> str:
    """Write down what calls cost, as far as it is known."""
    if spent.dollars is None:
        return ""
    unknown = f" without {spent.unpriced} that have no price" if spent.unpriced else ""
    return f", ${spent.dollars:.4g}{unknown}"


def _event(span: Span) -> str:
    """Return the end of the event's id, which is where ids differ, and the attempt if there were more."""
    attempt = span.attributes.get(names.ATTEMPT, 1)
    number = "" if attempt == 1 else f" #{visible(str(attempt))}"
    return f"…{visible(span.event_id)[-8:]}{number}" if span.event_id else number.strip()


def _bar(span: Span, begin: int, length_ns: int) -> str:
    """Draw when a span was; dots are the time that its message was on the queue."""
    left = min(BAR_WIDTH - 1, (span.start_ns - begin) * BAR_WIDTH // length_ns)
    length = max(1, round((span.end_ns - span.start_ns) * BAR_WIDTH / length_ns))
    waited = min(left, round((queued_ns(span) or 0) * BAR_WIDTH / length_ns))
    return " " * (left - waited) + "·" * waited + "█" * min(length, BAR_WIDTH - left)


def _milliseconds(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:,.1f}"


def _lines(trace: list[Span]) -> Iterator[_Line]:
    """Yield the spans from the root down; with a stack, since a chain of retries may be deep."""
    known = {span.span_id for span in trace}
    children: dict[str | None, list[Span]] = {}
    for span in trace:
        children.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    drawn: set[str] = set()
    # After the roots all spans once more: those that name each other as parents hang from none.
    for root in [*children.get(None, []), *trace]:
        stack = [(root, "", "")]
        while stack:
            span, guide, indent = stack.pop()
            if span.span_id in drawn:
                continue
            drawn.add(span.span_id)
            orphan = guide == "" and span.parent_id is not None
            yield _Line(span, guide, orphan)
            below = [child for child in children.get(span.span_id, []) if child.span_id not in drawn]
            for child in reversed(below):
                last = child is below[-1]
                stack.append(
                    (child, indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  "))
                )
