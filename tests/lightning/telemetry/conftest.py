"""Spans to store and to draw."""

import time
from collections.abc import Callable

import pytest

from lightning.telemetry.spans import Span, SpanStore

#: Older ones would expire.
BEGUN_NS = time.time_ns() // 1_000_000 * 1_000_000


@pytest.fixture
def make_span() -> Callable[..., Span]:
    """Make spans of one trace, a millisecond apart, each with an id of its own."""
    count = 0

    def make(name: str = "work", **fields: object) -> Span:
        nonlocal count
        count += 1
        begin = BEGUN_NS + count * 1_000_000
        defaults = {
            "trace_id": "a" * 32,
            "span_id": f"{count:016x}",
            "parent_id": None,
            "kind": "internal",
            "start_ns": begin,
            "end_ns": begin + 2_000_000,
            "process": "worker:7",
        }
        return Span(name=name, **{**defaults, **fields})

    return make


@pytest.fixture
def store(tmp_path):
    store = SpanStore(tmp_path / "spans.sqlite")
    yield store
    store.close()
