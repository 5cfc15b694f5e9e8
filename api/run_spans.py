"""Keeps the spans that runs send, beside those of the platform."""

import asyncio
import sqlite3
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from opentelemetry.trace import format_span_id, format_trace_id, get_current_span

from lightning.domain.run_tokens import RunAccess
from lightning.errors import Transient
from lightning.settings import Settings
from lightning.telemetry import carrier, names
from lightning.telemetry.otlp import Origin, SpansSent, spans_of
from lightning.telemetry.redaction import Redactor
from lightning.telemetry.relay import relay
from lightning.telemetry.spans import Span, SpanStore

#: What one ingress keeps of one run: a hundredth of what the store holds, and bytes as they were sent.
#: Further spans are rejected.
SPANS_PER_RUN: Final = 2_000
BYTES_PER_RUN: Final = 8 * 1024 * 1024

#: What they are spans of, at other destinations.
SERVICE: Final = "lightning-run"

_MAX_REMEMBERED: Final = 1_000


@dataclass(slots=True)
class _Kept:
    """What was kept of one run.

    Parameters:
      ids: Those of its spans, as numbers: there may be very many of them.
      bytes: What they were sent in.
    """

    ids: "array[int]" = field(default_factory=lambda: array("Q"))
    bytes: int = 0

    def unknown(self, spans: Iterable[Span]) -> dict[int, Span]:
        """Give the spans that were not kept before, by their ids."""
        known = set(self.ids)
        found: dict[int, Span] = {}
        for span in spans:
            number = int(span.span_id, 16)
            if number not in known:
                found.setdefault(number, span)
        return found

    def forget(self, ids: Iterable[int]) -> None:
        """Take spans for not kept again."""
        forgotten = set(ids)
        self.ids = array("Q", (each for each in self.ids if each not in forgotten))


class RunSpans:
    """Keeps the spans of runs.

    Parameters:
      settings: Where the span store is, and what must not get there.
    """

    def __init__(self, settings: Settings) -> None:
        self._store = _store(settings)
        self._redactor = Redactor(settings.secret_values())
        self._kept: OrderedDict[str, _Kept] = OrderedDict()

    async def keep(self, access: RunAccess, sent: SpansSent, size: int) -> int:
        """Keep what a run sent, up to its bounds.

        Parameters:
          access: Which run.
          sent: Its spans.
          size: Bytes of the request.

        Returns:
          How many spans were not kept.

        Raises:
          InvalidRequest: A span is not one that the run may send, and none is kept.
          Transient: The span store cannot be written (``store_unavailable``).
        """
        # the attributes may be a megabyte, through which secrets are looked for
        spans = await asyncio.to_thread(spans_of, sent, _origin(access), self._redactor)
        kept = self._of(access.run["id"])
        # what a run sends again, as when it heard no answer, is there already
        fresh = kept.unknown(spans)
        room = 0 if kept.bytes + size > BYTES_PER_RUN else max(0, SPANS_PER_RUN - len(kept.ids))
        taken = dict(islice(fresh.items(), room))
        if taken:
            kept.ids.extend(taken)
            kept.bytes += size
            try:
                await asyncio.to_thread(self._add, list(taken.values()))
            except Transient:  # they come again
                kept.forget(taken)
                kept.bytes -= size
                raise
            relay(list(taken.values()), SERVICE, access.run["id"])
        return len(fresh) - len(taken)

    def _of(self, run_id: str) -> _Kept:
        kept = self._kept.setdefault(run_id, _Kept())
        self._kept.move_to_end(run_id)
        if len(self._kept) > _MAX_REMEMBERED:
            self._kept.popitem(last=False)
        return kept

    def close(self) -> None:
        """Close the store."""
        if self._store is not None:
            self._store.close()

    def _add(self, spans: list[Span]) -> None:
        if self._store is None:
            return
        try:
            self._store.add(spans)
        except (sqlite3.Error, OSError) as error:
            raise Transient(f"the span store cannot be written: {error}", code="store_unavailable") from None


def _store(settings: Settings) -> SpanStore | None:
    if not settings.spans:
        return None
    return SpanStore(settings.data / "spans.db", max_spans=settings.spans, max_days=settings.span_days)


def _origin(access: RunAccess) -> Origin:
    started = get_current_span(carrier.parent(access.trace)).get_span_context()
    return Origin(
        trace_id=format_trace_id(started.trace_id),
        parent_id=format_span_id(started.span_id),
        attributes={
            names.RUN_ID: access.run["id"],
            names.EVENT: access.task["id"],
            names.USER: access.task["userID"],
        },
        process="run",
    )
