"""How values read on a page."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, cast

import orjson

#: What stands where there is nothing to say.
NOTHING: Final = "-"

#: More of a text is not shown in a list.
_SHORT_CHARS: Final = 160

#: Fields of metadata that say the most to a person, the first that is there.
_TELLING: Final = ("content", "message", "text", "agent", "image", "slot", "webhookID", "conversationID")

Json = Any


def moment(value: float | str | None) -> str:
    """Write a moment in UTC, to the second."""
    if value is None:
        return NOTHING
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value).timestamp()
        except ValueError:
            return value
    return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")


def lasting(seconds: float | None) -> str:
    """Write how long something takes, in the unit in which it is easily read."""
    if seconds is None:
        return NOTHING
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def number(value: float) -> str:
    """Write a number so that thousands are seen."""
    return f"{value:,}"


def dollars(value: float) -> str:
    """Write an amount of US dollars, a small one so that something of it is seen."""
    return f"${value:,.2f}" if value >= 1 else f"${value:.6f}"


def short(text: object) -> str:
    """Write the beginning of a text on one line."""
    line = " ".join(str(text).split())
    return line if len(line) <= _SHORT_CHARS else line[: _SHORT_CHARS - 1] + "…"


def gist(metadata: Mapping[str, Json]) -> str:
    """Say in a line what an event is about."""
    for name in _TELLING:
        if isinstance(metadata.get(name), str) and metadata[name].strip():
            return short(metadata[name])
    error: Json = metadata.get("error")
    return short(cast("dict[str, Json]", error).get("message", "")) if isinstance(error, dict) else ""


def pretty(value: Json) -> str:
    """Write a JSON value over several lines."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(errors="replace")


def exact(value: Json) -> str:
    """Write a JSON value so that no character of it is unseen, or has others read in another order."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text)


FILTERS: Final[Mapping[str, Callable[..., str]]] = {
    "moment": moment,
    "lasting": lasting,
    "number": number,
    "dollars": dollars,
    "short": short,
    "gist": gist,
    "pretty": pretty,
    "exact": exact,
}
