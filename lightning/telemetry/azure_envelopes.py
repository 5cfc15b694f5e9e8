"""Makes the envelopes of Application Insights of spans, fast.

Azure Monitor's exporter takes 0.2 ms for a span, and an event makes three. But the spans of a platform are of
a few shapes, and envelopes of one shape differ only in ids, times and the values that the exporter passes on
without a look. So the exporter is asked once for each shape, and its answer is the template of the others.
"""

import json
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Final, cast

import orjson
from azure.monitor.opentelemetry.exporter import AzureMonitorTraceExporter
from opentelemetry.sdk.trace import ReadableSpan

from lightning.telemetry.azure_template import Template, shape_of

#: Shapes that are remembered; then the oldest is forgotten.
MAX_SHAPES: Final = 512


class TemplateExporter(AzureMonitorTraceExporter):
    """Azure Monitor's exporter, which makes like envelopes of like spans.

    Whether a template serves is seen when it is made: if it does not give what the exporter gave, spans of
    that shape are the exporter's own work.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client = cast("Any", Encoding(self.client))
        self._templates: OrderedDict[Hashable, Template | None] = OrderedDict()

    def _span_to_envelope(self, span: ReadableSpan) -> Any:  # the base class asks it of each span
        shape = shape_of(span)
        try:
            template = self._templates.get(shape)
        except TypeError:  # a value that has no hash
            return super()._span_to_envelope(span)
        if template is not None:
            return orjson.Fragment(template.fill(span))
        envelope = super()._span_to_envelope(span)
        if shape not in self._templates:
            self._remember(shape, envelope, span)
        return envelope

    def _remember(self, shape: Hashable, envelope: Any, span: ReadableSpan) -> None:
        if len(self._templates) >= MAX_SHAPES:
            self._templates.popitem(last=False)
        self._templates[shape] = None
        if len(span.links) <= 1:
            plain = json.loads(_as_json(envelope))
            template = Template(plain, span)
            self._templates[shape] = template if json.loads(template.fill(span)) == plain else None


class Encoding:
    """The client of an exporter, which is given JSON: it takes long to make some itself.

    Parameters:
      client: The client.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    @property
    def _config(self) -> Any:
        """Where it sends to: the exporter changes that when the service redirects it."""
        return self._client._config  # noqa: SLF001 -- the exporter itself reads it there

    def track(self, body: Sequence[Any], **options: Any) -> Any:
        """Send envelopes: those that the exporter made, and those of templates."""
        encoded = orjson.dumps(body, default=lambda envelope: orjson.Fragment(_as_json(envelope)))
        return self._client.track(encoded, **options)


def _as_json(envelope: Any) -> str:
    """Encode an envelope that the exporter made; it may hold what orjson does not take."""
    return json.dumps(envelope.as_dict(exclude_readonly=True))
