"""`lightning trace`: the spans of an event, or of a trace, drawn."""

import re
import sys
from pathlib import Path
from typing import Final

from rich.console import Console

from lightning.prices import Prices
from lightning.telemetry.draw import as_json, draw
from lightning.telemetry.spans import SpanStore

_TRACE_ID: Final = re.compile("[0-9a-fA-F]{32}")


def show(data: Path, named: str, console: Console, prices: Prices, *, as_json_text: bool) -> bool:
    """Print a trace, or the traces that an event has a part in.

    Parameters:
      data: The data directory with the span store.
      named: Id of the trace, as OpenTelemetry writes it, or of the event.
      console: Where to draw.
      prices: What tokens cost.
      as_json_text: Print JSON instead, one list for each trace.

    Returns:
      Whether there is any.
    """
    path = data / "spans.db"
    if not path.exists():
        return False
    store = SpanStore(path)
    try:
        ids = [named.lower()] if _TRACE_ID.fullmatch(named) else store.traces_of_event(named)
        traces = [spans for trace_id in ids if (spans := store.trace(trace_id))]
    except UnicodeEncodeError:
        return False  # no id holds half a character
    finally:
        store.close()
    for spans in traces:
        if as_json_text:
            sys.stdout.write(as_json(spans, prices) + "\n")
        else:
            console.print(draw(spans, prices))
    return bool(traces)
