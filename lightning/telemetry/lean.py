"""Makes spans with less ado than the SDK, where nothing asks for more.

A span of the SDK takes 20 microseconds, most of them for locks, copies and limits of each part. A lean one
has plain attributes, and is its own copy once it ended.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final, cast

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, attach, detach
from opentelemetry.sdk.trace import Span, SpanLimits, Tracer
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.span import DEFAULT_TRACE_STATE
from opentelemetry.util.types import Attributes, AttributeValue

_SAMPLED: Final = TraceFlags(TraceFlags.SAMPLED)
_SAMPLED_RANDOM: Final = TraceFlags(TraceFlags.SAMPLED | TraceFlags.RANDOM_TRACE_ID)

_UNSET: Final = Status()

# Where `start_as_current_span` takes whether the span ends with the `with`, counted behind the name.
_PLACE_OF_END: Final = 8

# Makes a context without its own constructor.
_make: Final[Callable[..., SpanContext]] = cast("Any", tuple).__new__

#: Values that are taken as they are; the SDK checks and copies others.
_PLAIN: Final = frozenset({str, int, bool, float})


def _put(kept: dict[str, Any], attributes: Mapping[str, AttributeValue], limit: int | None) -> None:
    fits = limit is None or len(kept) + len(attributes) <= limit
    if fits and _PLAIN.issuperset(map(type, attributes.values())) and "" not in attributes:
        kept.update(attributes)
        return
    for name, value in attributes.items():
        if limit is not None and len(kept) >= limit and name not in kept:
            continue
        if type(value) in _PLAIN and name:
            kept[name] = value
        else:
            kept.update(BoundedAttributes(None, {name: value}))


def _plain(links: Sequence[Link], limits: SpanLimits) -> tuple[Link, ...] | None:
    """Copy links whose attributes are plain; None leaves them to the SDK."""
    if limits.max_links is not None and len(links) > limits.max_links:
        return None
    most, copies = limits.max_link_attributes or 0, list[Link]()
    for link in links:
        attributes = link.attributes
        if not (link.context.is_valid and isinstance(attributes, dict) and len(attributes) <= most):
            return None
        if not _PLAIN.issuperset(map(type, attributes.values())):
            return None
        copies.append(Link(link.context, attributes.copy()))
    return tuple(copies)


def _context(trace_id: int, span_id: int, flags: TraceFlags, state: TraceState) -> SpanContext:
    """Make the context of a span of this process, whose ids are valid: nothing is left to be checked."""
    return _make(SpanContext, (trace_id, span_id, False, flags, state, True))


class LeanSpan(Span):
    """A span whose attributes are a plain dictionary; the rest of it is the SDK's.

    Parameters:
      tracer: What makes it.
      context: Its own ids.
      parent: Those of its parent, if it has one.
      name: As of `LeanTracer.start_span`, as all that follow.
      kind: Its kind.
      attributes: Its first ones.
      links: Its first ones.
      start_time: Nanoseconds since the epoch; None: now.
      record_exception: Whether one that ends it as a context manager is an event of it.
      set_status_on_exception: Whether one makes it fail.
    """

    def __init__(
        self,
        tracer: "LeanTracer",
        context: SpanContext,
        parent: SpanContext | None,
        name: str,
        kind: SpanKind,
        attributes: Attributes,
        links: Sequence[Link] | None,
        start_time: int | None,
        record_exception: bool,  # noqa: FBT001 -- as in the base class
        set_status_on_exception: bool,  # noqa: FBT001 -- likewise
    ) -> None:
        # what the base class would do, but for the attributes
        self._context = context
        self._parent = parent
        self._name = name
        self._kind = kind
        self._resource = tracer.resource
        self._instrumentation_info = tracer.instrumentation_info
        self._instrumentation_scope = tracer.scope
        self._sampler = tracer.sampler
        self._record_exception = record_exception
        self._set_status_on_exception = set_status_on_exception
        self._span_processor = tracer.span_processor
        self._limits = tracer.limits
        self._lock = threading.Lock()
        self._status = _UNSET
        self._events = ()  # a list once there is one
        plain = _plain(links, tracer.limits) if links else ()
        self._links = cast("Any", self._new_links)(links) if plain is None else plain
        self._record_end_metrics = None
        self._attributes = {}
        if attributes:
            _put(self._attributes, attributes, self._limits.max_span_attributes)
        self._end_time = None
        self._start_time = time.time_ns() if start_time is None else start_time

    _attributes: dict[str, Any]  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def attributes(self) -> Attributes:
        """The attributes, not to be changed."""
        return self._attributes

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Set one attribute of a span that has not ended."""
        self.set_attributes({key: value})

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Set attributes of a span that has not ended; those that are too many are left out."""
        with self._lock:
            if self._end_time is None:
                _put(self._attributes, attributes, self._limits.max_span_attributes)

    def _add_event(self, event: Any) -> None:
        with self._lock:
            if isinstance(self._events, tuple):
                self._events = cast("Any", self._new_events)()
        cast("Any", super()._add_event)(event)

    def _add_link(self, link: Link) -> None:
        with self._lock:
            links = cast("Any", self._links)  # pyright: ignore[reportUnknownMemberType]
            if isinstance(links, tuple):
                self._links = cast("Any", self._new_links)(links)
        cast("Any", super()._add_link)(link)

    def tell(self, error: Exception) -> None:
        """Tell of what is raised within it, as far as that is asked for."""
        if self._record_exception:
            self.record_exception(error)
        if self._set_status_on_exception:
            self.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))

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
        given = (name, kind, attributes, links, start_time, record_exception, set_status_on_exception)
        if not self._is_lean:
            return super().start_span(name, context, *given[1:])
        parent, ids = get_current_span(context).get_span_context(), self.id_generator
        if parent.is_valid:
            flags = _SAMPLED_RANDOM if parent.trace_flags.random_trace_id else _SAMPLED
            own = _context(parent.trace_id, ids.generate_span_id(), flags, parent.trace_state)
            return LeanSpan(self, own, parent, *given)
        flags = _SAMPLED_RANDOM if ids.is_trace_id_random() else _SAMPLED
        own = _context(ids.generate_trace_id(), ids.generate_span_id(), flags, DEFAULT_TRACE_STATE)
        return LeanSpan(self, own, None, *given)

    def start_as_current_span(self, name: str, *given: Any, **options: Any) -> Any:
        """Begin a span that is current in a ``with``; the parameters are those of the base class."""
        ends_with_it = len(given) < _PLACE_OF_END and "end_on_exit" not in options
        if self._is_lean and ends_with_it:
            return _Current(self, name, given, options)
        return super().start_as_current_span(name, *given, **options)


class _Current:
    """Makes a span current from its beginning to its end, as `use_span` of the API does with generators.

    Parameters:
      tracer: What makes it.
      name: Its name.
      given: What else is given by place.
      options: What is given by name.
    """

    def __init__(
        self, tracer: LeanTracer, name: str, given: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self._made_of = tracer, name, given, options

    def __call__(self, function: Any) -> Any:
        """Give each call of a function a span of its own, as the SDK does."""
        tracer, name, given, options = self._made_of
        return Tracer.start_as_current_span(tracer, name, *given, **options)(function)

    def __enter__(self) -> LeanSpan:
        tracer, name, given, options = self._made_of
        self._span = span = tracer.start_span(name, *given, **options)
        self._token = attach(set_span_in_context(span))
        return span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        detach(self._token)
        span = self._span
        if isinstance(error, Exception) and span.is_recording():
            span.tell(error)
        span.end()
