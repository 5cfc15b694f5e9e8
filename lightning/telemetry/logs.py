"""Log records: one form for structlog and the standard library, one place for redaction."""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Literal, TextIO, TypeAlias, cast

import structlog
from opentelemetry.trace import format_span_id, format_trace_id, get_current_span
from structlog.typing import EventDict, Processor, WrappedLogger

from lightning.telemetry.redaction import Redactor

LogFormat: TypeAlias = Literal["console", "json"]

#: These tell of every request at the level of information, which is our own to do.
_LIBRARIES_THAT_TELL_EACH_REQUEST: Final = ("httpx2", "httpcore2", "openai", "azure", "opentelemetry")

#: These bring handlers of their own, which would print a second, unredacted line.
_LIBRARIES_WITH_HANDLERS: Final = ("uvicorn", "uvicorn.access", "uvicorn.error", "dramatiq")


def configure_logging(
    *,
    log_format: LogFormat,
    log_level: str,
    redactor: Redactor | None = None,
    forward: Callable[[EventDict], None] | None = None,
) -> None:
    """Send every log record of this process to standard error, without secrets.

    May be called again; the last call counts.

    Parameters:
      log_format: ``json`` for one object a line, ``console`` for people.
      log_level: A level of the standard library, in any case, such as ``info``.
      redactor: What must not be printed.
      forward: Given each record as it is printed, to send it elsewhere.

    Raises:
      ValueError: There is no such level.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _redaction(redactor or Redactor()),
                *(() if forward is None else (_forwarding(forward),)),
                _renderer(log_format, sys.stderr),
            ],
        )
    )
    root = logging.getLogger()
    root.setLevel(log_level.upper())
    root.handlers = [handler]
    for name in _LIBRARIES_THAT_TELL_EACH_REQUEST:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    for name in _LIBRARIES_WITH_HANDLERS:
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = True


class _StderrHandler(logging.StreamHandler[TextIO]):
    """A stream handler whose own failures do not print what it was given."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the base class's name
        # The base class prints the record's arguments as they are.
        kind = sys.exc_info()[0]
        what = kind.__name__ if kind else "error"
        sys.stderr.write(f"A log record of {record.name} could not be written: {what}\n")


def _add_trace(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    context = get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format_trace_id(context.trace_id)
        event["span_id"] = format_span_id(context.span_id)
    return event


def _redaction(redactor: Redactor) -> Processor:
    """Return the processor that stands last before the renderer, when all is text."""

    def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return cast("EventDict", redactor.value(event))

    return redact


def _forwarding(forward: Callable[[EventDict], None]) -> Processor:
    def hand_on(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        with suppress(Exception):  # the line is printed all the same
            forward(event)
        return event

    return hand_on


def _renderer(log_format: LogFormat, stream: TextIO) -> Processor:
    if log_format == "json":
        return structlog.processors.JSONRenderer(ensure_ascii=False)
    return structlog.dev.ConsoleRenderer(colors=stream.isatty())
