"""`lightning trace`: the spans of an event, drawn."""

import sys
from pathlib import Path

from rich.console import Console

from lightning.telemetry.draw import as_json, draw
from lightning.telemetry.spans import SpanStore


def show(data: Path, event_id: str, console: Console, *, as_json_text: bool) -> bool:
    """Print the traces that an event has a part in.

    Parameters:
      data: The data directory with the span store.
      event_id: The event.
      console: Where to draw.
      as_json_text: Print JSON instead, one list for each trace.

    Returns:
      Whether there is any.
    """
    path = data / "spans.db"
    if not path.exists():
        return False
    store = SpanStore(path)
    try:
        traces = [store.trace(trace_id) for trace_id in store.traces_of_event(event_id)]
    finally:
        store.close()
    for spans in traces:
        if as_json_text:
            sys.stdout.write(as_json(spans) + "\n")
        else:
            console.print(draw(spans))
    return bool(traces)
