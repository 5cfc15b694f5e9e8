"""Makes the envelopes of Application Insights of spans, fast.

Azure Monitor's exporter takes 0.2 ms for a span, and an event makes three. But the spans of a platform are of
a few shapes, and envelopes of one shape differ only in ids, times and the values that the exporter passes on
without a look. So the exporter is asked once for each shape, and its answer is the template of the others.
"""

import json
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, format_span_id, format_trace_id

from lightning.telemetry import names

Json: TypeAlias = dict[str, Any]

#: Shapes that are remembered; then the oldest is forgotten.
MAX_SHAPES: Final = 512

#: Values that are passed on are cut to this length, by the limits of Application Insights.
MAX_VALUE_LENGTH: Final = 8192

_OPERATION: Final = "ai.operation.id"
_PARENT: Final = "ai.operation.parentId"
_LINKS: Final = "_MS.links"
_WAITED: Final = "timeSinceEnqueued"

#: A longer path may be cut where an address ends with it.
_MAX_PATH_LENGTH: Final = 1024

#: What makes an address of more than a path at its end.
_OF_ADDRESSES: Final = ("url.query", "url.full", "http.url")

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


class TemplateExporter(AzureMonitorTraceExporter):
    """Azure Monitor's exporter, which makes like envelopes of like spans.

    Whether a template serves is seen when it is made: if it does not give what the exporter gave, spans of
    that shape are the exporter's own work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._templates: OrderedDict[Hashable, Template | None] = OrderedDict()

    def _span_to_envelope(self, span: ReadableSpan) -> Any:  # the base class asks it of each span
        shape = _shape(span)
        try:
            template = self._templates.get(shape)
        except TypeError:  # a value that has no hash
            return super()._span_to_envelope(span)
        if template is not None:
            return template.fill(span)
        envelope = super()._span_to_envelope(span)
        if shape not in self._templates:
            self._remember(shape, envelope, span)
        return envelope

    def _remember(self, shape: Hashable, envelope: Any, span: ReadableSpan) -> None:
        if len(self._templates) >= MAX_SHAPES:
            self._templates.popitem(last=False)
        plain = json.loads(json.dumps(envelope.as_dict(exclude_readonly=True)))
        template = Template(plain, span)
        self._templates[shape] = template if template.fill(span) == plain else None


class Template:
    """An envelope whose ids, times and passed-on values are exchanged.

    Parameters:
      envelope: What the exporter makes of a span, as plain data.
      span: The span.
    """

    def __init__(self, envelope: Json, span: ReadableSpan) -> None:
        self._resource = span.resource  # kept, for shapes name it by its place in memory
        self._envelope = envelope
        self._tags: Json = envelope["tags"]
        self._data: Json = envelope["data"]
        self._base: Json = envelope["data"]["baseData"]
        properties: Json = self._base["properties"]
        self._properties = {name: value for name, value in properties.items() if not _is_passed_on(name)}
        self._passed_on = [
            name for name in span.attributes or () if name in properties and _is_passed_on(name)
        ]
        self._waited = _WAITED in self._base["measurements"]
        path = _path(span)
        self._address = None if path is None else self._base.get("url", "").removesuffix(path)

    def fill(self, span: ReadableSpan) -> Json:
        """Make the envelope of a span of the same shape."""
        context, start_ns, end_ns = _finished(span)
        attributes = cast("Mapping[str, object]", span.attributes)
        properties = {
            **self._properties,
            **{name: str(attributes[name])[:MAX_VALUE_LENGTH] for name in self._passed_on},
        }
        tags = {**self._tags, _OPERATION: format_trace_id(context.trace_id)}
        if span.parent is not None:
            tags[_PARENT] = format_span_id(span.parent.span_id)
        base = {
            **self._base,
            "id": format_span_id(context.span_id),
            "duration": _duration(end_ns - start_ns),
            "properties": properties,
        }
        if self._address is not None:
            base["url"] = f"{self._address}{_path(span)}"
        for link in span.links:  # one: of more the exporter makes something else
            linked = {"operation_Id": format_trace_id(link.context.trace_id)}
            properties[_LINKS] = json.dumps([{**linked, "id": format_span_id(link.context.span_id)}])
            if self._waited:
                waited_ms = start_ns / 1_000_000 - _sent_ms(link)
                base["measurements"] = {**self._base["measurements"], _WAITED: max(0, waited_ms)}
        return {
            **self._envelope,
            "time": datetime.fromtimestamp(start_ns / 1e9, tz=UTC).isoformat().replace("+00:00", "Z"),
            "tags": tags,
            "data": {**self._data, "baseData": base},
        }


def _shape(span: ReadableSpan) -> Hashable:
    """Name all of a span that decides how its envelope looks, but for ids and times."""
    scope, path = span.instrumentation_scope, _path(span)
    return (
        span.name,
        span.kind,
        span.status.status_code,
        id(span.resource),
        None if scope is None else scope.name,
        span.parent is None,
        tuple(type((link.attributes or {}).get(names.LINK_ENQUEUED_TIME)) for link in span.links),
        tuple(
            (name, value is None)
            if _is_passed_on(name) or (name == names.URL_PATH and path is not None)
            else (name, value, type(value))
            for name, value in (span.attributes or {}).items()
        ),
    )


def _path(span: ReadableSpan) -> str | None:
    """Give the path of a request that has a name besides, so that its address alone holds the path."""
    attributes = span.attributes or {}
    path = attributes.get(names.URL_PATH)
    if names.HTTP_ROUTE not in attributes or not isinstance(path, str) or len(path) > _MAX_PATH_LENGTH:
        return None
    return None if any(name in attributes for name in _OF_ADDRESSES) else path


def _finished(span: ReadableSpan) -> tuple[SpanContext, int, int]:
    if span.context is None or span.start_time is None or span.end_time is None:
        raise ValueError("only finished spans can be sent")
    return span.context, span.start_time, span.end_time


def _sent_ms(link: Link) -> int:
    sent_ms = (link.attributes or {}).get(names.LINK_ENQUEUED_TIME)
    return sent_ms if isinstance(sent_ms, int) else 0


def _is_passed_on(name: str) -> bool:
    return name.startswith(_OWN) or name in _PASSED_ON


def _duration(nanoseconds: int) -> str:
    seconds, milliseconds = divmod((nanoseconds + 500_000) // 1_000_000, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days}.{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}"
