"""Envelopes of Application Insights whose spans are alike: one is the template of the others."""

import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, TypeAlias, cast
from uuid import uuid4

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext

from lightning.telemetry import names

Json: TypeAlias = dict[str, Any]

_Getter: TypeAlias = Callable[[Mapping[str, Any]], tuple[object, ...]]

#: Values that are passed on are cut to this length, by the limits of Application Insights.
MAX_VALUE_LENGTH: Final = 8192

_OPERATION: Final = "ai.operation.id"
_PARENT: Final = "ai.operation.parentId"
_LINKS: Final = "_MS.links"
_WAITED: Final = "timeSinceEnqueued"

#: A longer path may be cut where an address ends with it.
_MAX_PATH_LENGTH: Final = 1024

#: What makes an address of more than a path at its end.
_OF_ADDRESSES: Final = frozenset({"url.query", "url.full", "http.url"})

#: Attributes whose values decide nothing in an envelope: ours, and a few more.
_OWN: Final = "lightning."
_PASSED_ON: Final = frozenset(
    {
        names.MESSAGING_MESSAGE_ID,
        names.GEN_AI_CONVERSATION_ID,
        names.GEN_AI_USAGE_INPUT_TOKENS,
        names.GEN_AI_USAGE_OUTPUT_TOKENS,
    }
)

# What stands in a template where a text is put, a number, and ids: nothing else is like it.
_TEXT: Final = f"text-{uuid4()}"
_NUMBER: Final = f"number-{uuid4()}"
_TRACE_ID: Final = f"trace-{uuid4()}"
_SPAN_ID: Final = f"span-{uuid4()}"

# And how each is written.
_WRITTEN: Final = ((f'"{_NUMBER}"', "%s"), (_TEXT, "%s"), (_TRACE_ID, "%032x"), (_SPAN_ID, "%016x"))


class Template:
    """The JSON of an envelope, whose ids, times and passed-on values are exchanged.

    Parameters:
      envelope: What the exporter made, as plain data.
      span: Of this span.
    """

    def __init__(self, envelope: Json, span: ReadableSpan) -> None:
        self._resource = span.resource  # kept, for shapes name it by its place in memory
        base: Json = envelope["data"]["baseData"]
        kind = _kind_of(tuple(span.attributes or ()))
        passed_on = [name for name in kind.passed_on if name in base["properties"]]
        self._values = _getter(passed_on)
        path = _path(span, kind)
        self._address = None if path is None else base.get("url", "").removesuffix(path)
        self._waited = bool(span.links) and _WAITED in base["measurements"]
        # what is exchanged stands behind what is not, in the order of `fill`
        words = {_OPERATION: _TRACE_ID} | ({} if span.parent is None else {_PARENT: _SPAN_ID})
        fields: Json = {"id": _SPAN_ID, "duration": _TEXT} | ({} if self._address is None else {"url": _TEXT})
        properties: Json = dict.fromkeys(passed_on, _TEXT)
        if span.links:  # one
            properties[_LINKS] = json.dumps([{"operation_Id": _TRACE_ID, "id": _SPAN_ID}])
        fields["properties"] = _behind(base["properties"], properties)
        fields["measurements"] = _behind(base["measurements"], {_WAITED: _NUMBER} if self._waited else {})
        exchanged = {
            "time": _TEXT,
            "tags": _behind(envelope["tags"], words),
            "data": _behind(envelope["data"], {"baseData": _behind(base, fields)}),
        }
        text = json.dumps(_behind(envelope, exchanged), separators=(",", ":")).replace("%", "%%")
        for mark, written in _WRITTEN:
            text = text.replace(mark, written)
        self._text = text

    def fill(self, span: ReadableSpan) -> str:
        """Make the envelope of a span of the same shape."""
        context, start_ns, end_ns = _finished(span)
        attributes = cast("Mapping[str, object]", span.attributes)
        parent, links = span.parent, span.links
        put: list[object] = [_moment(start_ns), context.trace_id]
        if parent is not None:
            put.append(parent.span_id)
        put += (context.span_id, _duration(end_ns - start_ns))
        values = list(map(str, self._values(attributes)))
        if self._address is not None:
            values.insert(0, f"{self._address}{attributes[names.URL_PATH]}")
        put += _written(values)
        for link in links:
            put += (link.context.trace_id, link.context.span_id)
            if self._waited:
                put.append(max(0, start_ns / 1_000_000 - _sent_ms(link)))
        return self._text % tuple(put)


@dataclass(frozen=True, slots=True)
class _Kind:
    """What becomes of attributes, by their names.

    Parameters:
      passed_on: Names of those whose values are in it as they are.
      values: Gives those.
      deciding: Gives the values of the others, which decide how the envelope looks.
      beside_path: Gives these without the path.
      has_path: Whether it is of a request that has a name besides its path, so that its address alone holds
        the path.
    """

    passed_on: tuple[str, ...]
    values: _Getter
    deciding: _Getter
    beside_path: _Getter
    has_path: bool


@lru_cache(maxsize=1024)
def _kind_of(attributes: tuple[str, ...]) -> _Kind:
    passed_on = tuple(name for name in attributes if name.startswith(_OWN) or name in _PASSED_ON)
    deciding = [name for name in attributes if name not in passed_on]
    beside_path = [name for name in deciding if name != names.URL_PATH]
    has_path = {names.HTTP_ROUTE, names.URL_PATH}.issubset(attributes)
    return _Kind(
        passed_on,
        _getter(passed_on),
        _getter(deciding),
        _getter(beside_path),
        has_path and _OF_ADDRESSES.isdisjoint(attributes),
    )


def _getter(wanted: Sequence[str]) -> _Getter:
    """Give what reads the values of some attributes at once."""
    if len(wanted) > 1:
        return itemgetter(*wanted)
    return lambda attributes: tuple([attributes[name] for name in wanted])


def shape_of(span: ReadableSpan) -> Hashable:
    """Name all of a span that decides how its envelope looks, but for ids and times."""
    scope, attributes = span.instrumentation_scope, span.attributes or {}
    told = tuple(attributes)
    kind = _kind_of(told)
    has_path = _path(span, kind) is not None
    deciding = (kind.beside_path if has_path else kind.deciding)(attributes)
    passed_on = kind.values(attributes)
    # members of enumerations by their places in memory, since Python hashes them slowly
    return (
        span.name,
        id(span.kind),
        id(span.status.status_code),
        id(span.resource),
        None if scope is None else scope.name,
        span.parent is None,
        has_path,
        tuple([type((link.attributes or {}).get(names.LINK_ENQUEUED_TIME)) for link in span.links]),
        told,
        deciding,
        tuple(map(type, deciding)),
        tuple([value is None for value in passed_on]) if None in passed_on else (),
    )


def _path(span: ReadableSpan, kind: _Kind) -> str | None:
    """Give the path of a request, where its address alone holds it."""
    path = (span.attributes or {}).get(names.URL_PATH) if kind.has_path else None
    return path if isinstance(path, str) and len(path) <= _MAX_PATH_LENGTH else None


def _behind(fixed: Json, exchanged: Json) -> Json:
    return {**{name: value for name, value in fixed.items() if name not in exchanged}, **exchanged}


def _written(values: list[str]) -> list[str]:
    """Give texts as they stand in JSON between quotation marks, cut to what is taken."""
    together = "".join(values)
    is_plain = together.isascii() and together.isprintable() and '"' not in together and "\\" not in together
    if is_plain and len(together) <= MAX_VALUE_LENGTH:
        return values
    return [json.dumps(value[:MAX_VALUE_LENGTH])[1:-1] for value in values]


def _finished(span: ReadableSpan) -> tuple[SpanContext, int, int]:
    if span.context is None or span.start_time is None or span.end_time is None:
        raise ValueError("only finished spans can be sent")
    return span.context, span.start_time, span.end_time


def _sent_ms(link: Link) -> int:
    sent_ms = (link.attributes or {}).get(names.LINK_ENQUEUED_TIME)
    return sent_ms if isinstance(sent_ms, int) else 0


def _moment(nanoseconds: int) -> str:
    seconds = nanoseconds / 1e9  # rounded as the exporter does
    whole = int(seconds)
    microseconds = round((seconds - whole) * 1e6)
    if not 0 < microseconds < 1_000_000:
        return datetime.fromtimestamp(seconds, tz=UTC).isoformat().replace("+00:00", "Z")
    return f"{_second(whole)}.{microseconds:06}Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat().removesuffix("+00:00")


def _duration(nanoseconds: int) -> str:
    seconds, milliseconds = divmod((nanoseconds + 500_000) // 1_000_000, 1000)
    if seconds < 60:
        return f"0.00:00:{seconds:02}.{milliseconds:03}"
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}.{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
