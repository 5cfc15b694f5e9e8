"""Hands log records on to OpenTelemetry, after they were redacted and beside the line that is printed."""

from collections.abc import Mapping
from typing import Final, cast

import orjson
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.util.types import AnyValue
from structlog.typing import EventDict

from lightning.telemetry import names

_SEVERITIES: Final = {
    "debug": SeverityNumber.DEBUG,
    "info": SeverityNumber.INFO,
    "warning": SeverityNumber.WARN,
    "error": SeverityNumber.ERROR,
    "critical": SeverityNumber.FATAL,
}

#: What a record has of its own; the span is the one that is current.
_OWN: Final = frozenset({"event", "level", "logger", "timestamp", "trace_id", "span_id", "exception"})

#: Their own troubles would be sent by the way that is in trouble.
_SENDERS: Final = ("azure.", "opentelemetry.", "urllib3.", "requests.")


class Forwarding:
    """Emits log records.

    Parameters:
      provider: What takes them to their destinations.
    """

    def __init__(self, provider: LoggerProvider) -> None:
        self._provider = provider

    def __call__(self, event: EventDict) -> None:
        """Emit one record.

        Parameters:
          event: As it is printed.
        """
        name = str(event.get("logger") or "lightning")
        if name.startswith(_SENDERS):
            return
        level, text = str(event.get("level") or "info"), str(event.get("event") or "")
        self._provider.get_logger(name).emit(
            LogRecord(
                severity_text=level.upper(),
                severity_number=_SEVERITIES.get(level, SeverityNumber.INFO),
                body=text,
                attributes=_attributes(event, text),
            )
        )


def _attributes(event: EventDict, text: str) -> dict[str, AnyValue]:
    attributes = {
        names.LOG_ATTRIBUTES.get(name, name): _plain(value)
        for name, value in event.items()
        if name not in _OWN and value is not None
    }
    if text in names.CUSTOM_EVENTS:
        attributes[names.CUSTOM_EVENT_NAME] = text
    if event.get("exception"):
        attributes |= _exception(str(event["exception"]))
    return attributes


def _exception(traceback: str) -> Mapping[str, AnyValue]:
    """Read the last line of a traceback, which names the exception."""
    kind, _, message = traceback.rstrip().rpartition("\n")[2].partition(": ")
    return {
        names.EXCEPTION_TYPE: kind,
        names.EXCEPTION_MESSAGE: message or kind,
        names.EXCEPTION_STACKTRACE: traceback,
    }


def _plain(value: object) -> AnyValue:
    if isinstance(value, str | bool | int | float):
        return value
    return cast("AnyValue", orjson.dumps(value, default=repr).decode())
