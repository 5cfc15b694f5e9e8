"""One trace through a queue, for any Dramatiq program.

``send {queue}`` (PRODUCER) writes its context into the message, ``process
{queue}`` (CONSUMER) takes it as parent and link. The process span is current
while the actor runs, in an ``async`` actor too: asyncio hands the worker
thread's context variables to the coroutine. It stays current and open until
the message is settled, so what other middleware does afterwards (a retry, the
next stage of a pipeline, a stored result) belongs to it, whatever the order in
which middleware was added.
"""

import functools
import logging
import threading
from collections.abc import Callable
from contextvars import Token
from dataclasses import dataclass
from typing import Concatenate, Final, ParamSpec

from dramatiq import Broker, Message, MessageProxy, Middleware
from dramatiq.common import q_name
from dramatiq.errors import Retry
from dramatiq.worker import WorkerThread
from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.util.types import Attributes

from lightning.telemetry import carrier, names

#: Where the trace context travels within a message's options.
OPTION: Final = "trace"

# Where an open send span waits for the end of the send: on the message object, which is not what is encoded.
_SENDING: Final = "_lightning_sending"

# Arguments of a message, by the attributes that tell them.
_OF_EVENTS: Final = (("eventID", names.EVENT), ("userID", names.USER))

_logger = logging.getLogger(__name__)
_P = ParamSpec("_P")
_AnyMessage = Message[object] | MessageProxy


@dataclass(slots=True)
class _Processing:
    """The message that a worker thread has in hand."""

    message_id: str
    span: Span
    token: Token[Context]
    failed: bool = False


class _Thread(threading.local):
    """What a worker thread has in hand: one message at a time."""

    processing: _Processing | None = None


class _Sending:
    """An open send span; Dramatiq has no hook for a send that raised, but then the message is dropped."""

    __slots__ = ("span",)

    def __init__(self, span: Span) -> None:
        self.span = span

    def __del__(self) -> None:
        if self.span.is_recording():
            self.span.set_status(Status(StatusCode.ERROR, "the broker did not take the message"))
            self.span.end()


def _harmless(
    hook: Callable[Concatenate["Tracing", _P], None],
) -> Callable[Concatenate["Tracing", _P], None]:
    """Keep the failures of a hook from the broker: a message matters more than its trace."""

    @functools.wraps(hook)
    def wrapper(self: "Tracing", *args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception:  # whatever a span processor or an exception's __str__ may raise
            _logger.warning("A message goes on without its trace.", exc_info=True)

    return wrapper


class Tracing(Middleware):
    """Dramatiq middleware that opens a span for each send and each processing.

    Parameters:
      system: What carries the messages, as ``messaging.system``; ``servicebus``
        also makes Application Insights draw the queue on its map.
      server_address: Host name of the broker, if it has one.
      server_port: Its port.
      tracer_provider: Whose spans to open; OpenTelemetry's global provider when left out.
    """

    def __init__(
        self,
        *,
        system: str = "dramatiq",
        server_address: str | None = None,
        server_port: int | None = None,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(__name__, tracer_provider=tracer_provider)
        self._thread = _Thread()
        self._common: dict[str, str | int] = {names.MESSAGING_SYSTEM: system}
        if system == "servicebus":
            self._common[names.AZ_NAMESPACE] = names.AZ_NAMESPACE_SERVICE_BUS
        if server_address is not None:
            self._common[names.SERVER_ADDRESS] = server_address
        if server_port is not None:
            self._common[names.SERVER_PORT] = server_port

    @_harmless
    def before_enqueue(self, broker: Broker, message: _AnyMessage, delay: int) -> None:
        """Open the send span and write its context into the message."""
        stored = None if trace.get_current_span().get_span_context().is_valid else _parent(message)
        span = self._tracer.start_span(
            f"{names.SEND} {q_name(message.queue_name)}",
            context=stored,
            kind=SpanKind.PRODUCER,
            attributes=self._attributes(message),
        )
        fields = carrier.of(span.get_span_context())
        if fields:
            message.options[OPTION] = fields
        vars(message)[_SENDING] = _Sending(span)

    @_harmless
    def after_enqueue(self, broker: Broker, message: _AnyMessage, delay: int) -> None:
        """Close the send span."""
        sending = vars(message).pop(_SENDING, None)
        if isinstance(sending, _Sending):
            sending.span.end()

    @_harmless
    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Open the process span and make it current."""
        self._open_processing(message)

    @_harmless
    def after_process_message(
        self,
        broker: Broker,
        message: MessageProxy,
        *,
        result: object = None,
        exception: BaseException | None = None,
    ) -> None:
        """Record how the actor ended; the span stays open until the message is settled."""
        processing = self._processing(message) or self._open_processing(message)
        # Retry is how an actor asks for another attempt, not an error.
        if exception is not None and not isinstance(exception, Retry):
            processing.failed = True
            _record(processing.span, exception)

    @_harmless
    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Say that the actor did not run."""
        # A middleware that comes before this one may have skipped it: then nothing is open yet.
        processing = self._processing(message) or self._open_processing(message)
        processing.span.set_attribute(names.SKIPPED, value=True)

    @_harmless
    def before_ack(self, broker: Broker, message: MessageProxy) -> None:
        """Close the process span, now that all middleware is done with the message."""
        self._close_processing(message)

    @_harmless
    def before_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Close the process span of a message that is rejected."""
        processing = self._processing(message)
        if processing is not None and not processing.failed:
            processing.span.set_status(Status(StatusCode.ERROR, "rejected"))
        self._close_processing(message)

    @_harmless
    def after_nack(self, broker: Broker, message: MessageProxy) -> None:
        """Leave a span for a message that was rejected because nothing here can process it."""
        if message.actor_name not in broker.get_declared_actors():
            processing = self._open_processing(message)
            processing.span.set_status(Status(StatusCode.ERROR, f"no actor {message.actor_name} here"))
            self._close_processing(message)

    @_harmless
    def before_worker_thread_shutdown(self, broker: Broker, thread: WorkerThread) -> None:
        """Close whatever was left open on a thread that ends."""
        self._close_processing(None)

    def _processing(self, message: MessageProxy) -> _Processing | None:
        processing = self._thread.processing
        if processing is None or processing.message_id != message.message_id:
            return None
        return processing

    def _open_processing(self, message: MessageProxy) -> _Processing:
        self._close_processing(None)
        own = _unwrapped(message)
        parent = _parent(own)
        creation = trace.get_current_span(parent).get_span_context()
        # A link besides the parent, because only links carry the time that Application Insights
        # subtracts to tell how long the message has waited.
        links = [Link(creation, {names.LINK_ENQUEUED_TIME: _enqueued_ms(own)})] if creation.is_valid else None
        span = self._tracer.start_span(
            f"{names.PROCESS} {own.queue_name}",
            context=parent,
            kind=SpanKind.CONSUMER,
            attributes=self._attributes(own),
            links=links,
        )
        token = context.attach(trace.set_span_in_context(span, parent))
        processing = _Processing(own.message_id, span, token)
        self._thread.processing = processing
        return processing

    def _close_processing(self, message: MessageProxy | None) -> None:
        """End the span of ``message``, or whichever was left open if it is None."""
        processing = self._thread.processing
        if processing is None or (message is not None and processing.message_id != message.message_id):
            return
        self._thread.processing = None
        context.detach(processing.token)
        processing.span.end()

    def _attributes(self, message: _AnyMessage) -> Attributes:
        queue, message_id, arguments = q_name(message.queue_name), message.message_id, message.kwargs
        attributes = {
            **self._common,
            names.MESSAGING_DESTINATION_NAME: queue,
            names.MESSAGING_MESSAGE_ID: message_id,
            names.QUEUE: queue,
            names.MESSAGE_ID: message_id,
            names.ACTOR: message.actor_name,
            names.ATTEMPT: int(message.options.get("retries") or 0) + 1,
        }
        for name, attribute in _OF_EVENTS:
            value = arguments.get(name)
            if isinstance(value, str):
                attributes[attribute] = value
        return attributes


def _parent(message: _AnyMessage) -> Context:
    """Return the context that travelled with a message: its sender's, else its event's."""
    return carrier.parent(message.options.get(OPTION) or message.kwargs.get("trace"))


def _unwrapped(message: MessageProxy) -> _AnyMessage:
    """Return the message that a proxy stands for, which tells what it has in a tenth of the time."""
    return vars(message).get("_message", message)


def _enqueued_ms(message: _AnyMessage) -> int:
    """Return when the message was sent for this attempt, in milliseconds since the epoch."""
    return int(message.options.get("requeue_timestamp") or message.message_timestamp)


def _record(span: Span, exception: BaseException) -> None:
    kind = type(exception).__qualname__
    span.set_attribute(names.ERROR_TYPE, kind)
    code = getattr(exception, "code", None)
    if isinstance(code, str):
        span.set_attribute(names.ERROR_CODE, code)
    span.set_status(Status(StatusCode.ERROR, f"{kind}: {exception}"))
    span.record_exception(exception)
