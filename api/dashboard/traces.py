"""The trace of an event as a waterfall: each span with its place in the tree and on the line of time."""

import asyncio
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import structlog

from api.platform import Platform
from lightning.telemetry import names
from lightning.telemetry.reading import queued_ns
from lightning.telemetry.spans import Span, SpanStore

_log = structlog.get_logger(__name__)

#: The line of time is so long, in the units of the drawing.
WIDTH: Final = 1000

#: What is deeper is drawn as deep as this.
_MAX_DEPTH: Final = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One span.

    Parameters:
      span: The span.
      depth: How deep in the tree it is.
      left: Where it begins on the line of time.
      width: How long it is there.
      queued_left: Where the wait in the queue before it begins, if it was one.
      queued_seconds: How long that was.
    """

    span: Span
    depth: int
    left: float
    width: float
    queued_left: float | None
    queued_seconds: float | None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.span.end_ns - self.span.start_ns) / 1e9

    @property
    def failed(self) -> bool:
        """Whether it ended in an error."""
        return self.span.status == "error"

    @property
    def attempt(self) -> Any:
        """Which attempt at its event it was."""
        return self.span.attributes.get(names.ATTEMPT, 1)

    @property
    def model(self) -> str:
        """What model answered, and what that took."""
        told = self.span.attributes
        model = told.get(names.GEN_AI_RESPONSE_MODEL) or told.get(names.GEN_AI_REQUEST_MODEL)
        tokens = [told.get(names.GEN_AI_USAGE_INPUT_TOKENS), told.get(names.GEN_AI_USAGE_OUTPUT_TOKENS)]
        counted = "" if None in tokens else f", {tokens[0]} + {tokens[1]} tokens"
        return f"{model}{counted}" if model else ""

    @property
    def tracebacks(self) -> list[str]:
        """The tracebacks of its exceptions."""
        told = [_attributes(each) for each in self.span.events if each.get("name") == "exception"]
        return [str(each["exception.stacktrace"]) for each in told if "exception.stacktrace" in each]


@dataclass(frozen=True, slots=True)
class Trace:
    """The spans of an event, in the order in which they are drawn, and the attempts at it among them."""

    rows: list[Row]
    attempts: list[Row]
    seconds: float


def _attributes(holder: Mapping[str, object]) -> Mapping[str, object]:
    """Give the attributes of an event of a span, or of a link."""
    told = holder.get("attributes")
    return cast("dict[str, object]", told) if isinstance(told, dict) else {}


async def trace_of(parts: Platform, event_id: str, own: Collection[str] | None) -> Trace:
    """Read the traces in which an event was worked on.

    Parameters:
      parts: The platform.
      event_id: The event.
      own: The events whose spans may be seen, with what is below them: whoever posts an event says in which
        trace that is, so that the rest may be another user's. None is everything.
    """
    try:
        spans = await asyncio.to_thread(_read, parts.spans, event_id)
    except sqlite3.Error as error:
        _log.warning("spans_unreadable", error=str(error))
        spans = []
    if own is not None:
        spans = _visible(spans, own)
    rows = list(_rows(spans))
    attempts = [row for row in rows if row.span.kind == "consumer" and row.span.event_id == event_id]
    return Trace(rows, attempts, _length(spans) / 1e9)


def _read(store: SpanStore, event_id: str) -> list[Span]:
    return [span for trace in store.traces_of_event(event_id) for span in store.trace(trace)]


def _visible(spans: Sequence[Span], own: Collection[str]) -> list[Span]:
    """Keep the spans of these events, those below them of no other event, and the requests that made them."""
    by_id = {span.span_id: span for span in spans}
    children = _children(spans, by_id)
    kept: dict[str, Span] = {}
    left = [span for span in spans if span.event_id in own]
    for span in list(left):
        above = by_id.get(span.parent_id or "")
        # the ingress itself begins this span, whatever trace the client is in
        if above is not None and above.kind == "server" and above.event_id is None:
            kept[above.span_id] = above
    while left:
        span = left.pop()
        if span.span_id not in kept:
            kept[span.span_id] = span
            left += [each for each in children.get(span.span_id, []) if each.event_id in {None, *own}]
    return [span for span in spans if span.span_id in kept]


def _children(spans: Sequence[Span], known: Collection[str]) -> dict[str | None, list[Span]]:
    found: dict[str | None, list[Span]] = {}
    for span in sorted(spans, key=lambda span: (span.start_ns, -span.end_ns)):
        found.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    return found


def _length(spans: Sequence[Span]) -> int:
    return max((s.end_ns for s in spans), default=0) - min((s.start_ns for s in spans), default=0)


def _rows(spans: Sequence[Span]) -> Iterator[Row]:
    """Give the spans from the roots down; with a stack, as a chain of retries may be deep."""
    begin, length = min((span.start_ns for span in spans), default=0), max(1, _length(spans))
    children = _children(spans, {span.span_id for span in spans})
    drawn: set[str] = set()
    # behind the roots all once more: those that name each other as parents hang from none
    left = [(span, 0) for span in reversed([*children.get(None, []), *spans])]
    while left:
        span, depth = left.pop()
        if span.span_id in drawn:
            continue
        drawn.add(span.span_id)
        yield _row(span, min(depth, _MAX_DEPTH), begin, length)
        left += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]


def _row(span: Span, depth: int, begin: int, length: int) -> Row:
    left = (span.start_ns - begin) * WIDTH / length
    width = max(3.0, (span.end_ns - span.start_ns) * WIDTH / length)
    queued = queued_ns(span)
    queued_left, queued_seconds = None, None
    if queued is not None:
        queued_left = max(0.0, (span.start_ns - queued - begin) * WIDTH / length)
        queued_seconds = queued / 1e9
    return Row(span, depth, min(left, WIDTH - 3.0), min(width, WIDTH - left), queued_left, queued_seconds)
