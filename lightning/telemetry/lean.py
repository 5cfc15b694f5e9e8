"""Makes spans with less ado than the SDK, where nothing asks for more.

A span of the SDK takes 20 microseconds, most of them for locks, copies and limits of each part. A lean one
has plain attributes, and is its own copy once it ended.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanLimits, Tracer
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, TraceFlags, get_current_span
from opentelemetry.util.types import Attributes, AttributeValue

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM: Final = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)

_UNSET: Final = Status()

#: Values that are taken as they are; the SDK checks and copies others.
_PLAIN: Final = frozenset({str, int, bool, float})


def _put(kept: dict[str, Any], attributes: Mapping[str, AttributeValue], limit: int | None) -> None:
    for name, value in attributes.items():
        if limit is not None and len(kept) >= limit and name not in kept:
            continue
        if type(value) in _PLAIN and name:
            kept[name] = value
        else:
            kept.update(BoundedAttributes(None, {name: value}))


class LeanSpan(Span):
    """A span whose attributes are a plain dictionary; the rest of it is the SDK's.

    Parameters:
      tracer: What makes it.
      context: Its own ids.
      parent: Those of its parent, if it has one.
      given: The other arguments of `LeanTracer.start_span`.
    """

    def __init__(
        self, tracer: "LeanTracer", context: SpanContext, parent: SpanContext | None, **given: Any
    ) -> None:
        # what the base class would do, but for the attributes
        self._context = context
        self._parent = parent
        self._name = given["name"]
        self._kind = given["kind"]
        self._resource = tracer.resource
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer.scope
        self._sampler = tracer.sampler
        self._record_exception = given["record_exception"]
        self._set_status_on_exception = given["set_status_on_exception"]
        self._span_processor = tracer.span_processor
        self._limits = tracer.limits
        self._lock = threading.Lock()
        self._status = _UNSET
        self._events = self._new_events()  # pyright: ignore[reportUnknownMemberType]
        self._links = self._new_links(given["links"])  # pyright: ignore[reportUnknownMemberType]
        self._record_end_metrics = None
        self._attributes = {}
        if given["attributes"]:
            _put(self._attributes, given["attributes"], self._limits.max_span_attributes)
        self._end_time = None
        self._start_time = time.time_ns() if given["start_time"] is None else given["start_time"]

    _attributes: dict[str, Any]  # pyright: ignore[reportIncompatibleVariableOverride]

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set one attribute of a span that has not ended."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes of a span that has not ended; those that are too many are left out."""
        with self._lock:
            if self._end_time is None:
                _put(self._attributes, attributes, self._limits.max_span_attributes)

    def end(self, end_time: int | None = None) -> None:
        """End the span, and hand it on itself: nothing changes it any more."""
        with self._lock:
            if self._end_time is not None:
                return
            self._end_time = time.time_ns() if end_time is None else end_time
        self._span_processor.on_end(self)


class LeanTracer(Tracer):
    """A tracer whose spans are lean where each is sampled, and its texts have no longest length.

    Processors hear of the end of a lean span, and not of its beginning.

    Parameters:
      tracer: The SDK's, which else makes them.
    """

    def __init__(self, tracer: Tracer) -> None:
        vars(self).update(vars(tracer))
        self.limits: SpanLimits = self._span_limits
        self.scope = self._instrumentation_scope
        self._is_lean = self.sampler is ALWAYS_ON and self.limits.max_span_attribute_length is None

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: Attributes = None,
        links: Sequence[Link] | None = (),
        start_time: int | None = None,
        record_exception: bool = True,  # noqa: FBT001, FBT002 -- as in the base class
        set_status_on_exception: bool = True,  # noqa: FBT001, FBT002 -- likewise
    ) -> Any:
        """Begin a span."""
        options: dict[str, Any] = {
            "name": name,
            "kind": kind,
            "attributes": attributes,
            "links": links or (),
            "start_time": start_time,
            "record_exception": record_exception,
            "set_status_on_exception": set_status_on_exception,
        }
        if not self._is_lean:
            return super().start_span(context=context, **options)
        parent, ids = get_current_span(context).get_span_context(), self.id_generator
        if parent.is_valid:
            flags = _SAMPLED_RANDOM if parent.trace_flags.random_trace_id else _SAMPLED
            own = SpanContext(
                parent.trace_id,
                ids.generate_span_id(),
                is_remote=False,
                trace_flags=flags,
                trace_state=parent.trace_state,
            )
            return LeanSpan(self, own, parent, **options)
        flags = _SAMPLED_RANDOM if ids.is_trace_id_random() else _SAMPLED
        own = SpanContext(ids.generate_trace_id(), ids.generate_span_id(), is_remote=False, trace_flags=flags)
        return LeanSpan(self, own, None, **options)
