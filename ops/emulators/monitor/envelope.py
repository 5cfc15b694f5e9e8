"""Reads what is sent, as strictly as the schema of the envelopes says.

The schema is in https://github.com/microsoft/ApplicationInsights-Home (EndpointSpecs/Schemas/Bond); what the
exporter makes of it in https://github.com/Azure/azure-rest-api-specs (Monitor.Exporters, v2.1).
"""

import gzip
import re
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias, cast

import orjson

JsonObject: TypeAlias = dict[str, Any]

#: A kind of data, and the fields without which it is none.
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "RequestData": ("id", "duration", "responseCode", "success"),
    "RemoteDependencyData": ("name", "duration"),
    "MessageData": ("message",),
    "ExceptionData": ("exceptions",),
    "EventData": ("name",),
    "MetricData": ("metrics",),
}

#: Characters that fit; the service cuts what is longer, and an exporter that relies on it loses the end.
MAX_KEY_CHARS: Final = 150
MAX_VALUE_CHARS: Final = 8192

_DURATION: Final = re.compile(r"(\d+)\.(\d\d):(\d\d):(\d\d)\.(\d{3,7})", re.ASCII)


class BadItem(Exception):  # the name of its status
    """One envelope is refused.

    Parameters:
      message: What is wrong with it.
    """

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadBody(BadItem):
    """Nothing of the body can be read."""


def read_items(body: bytes, encoding: str, limit: int) -> list[object]:
    """Read a body: a JSON array, one object, or one object a line; compressed by gzip or not.

    Parameters:
      body: The body.
      encoding: Its ``content-encoding``.
      limit: Bytes that it may have when it is expanded.

    Raises:
      BadBody: It is none of these.
    """
    if encoding == "gzip":
        try:
            body = gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise BadBody(f"the body is not gzip: {error}") from error
    if len(body) > limit:
        raise BadBody("the body is too large")
    try:
        if body.lstrip()[:1] == b"[":
            return cast("list[object]", orjson.loads(body))
        return [orjson.loads(line) for line in body.splitlines() if line.strip()]
    except orjson.JSONDecodeError as error:
        raise BadBody(f"the body is not JSON: {error}") from error


def check(item: object, key: str) -> JsonObject:
    """Check one envelope.

    Parameters:
      item: As it came.
      key: The instrumentation key that it must name.

    Returns:
      The envelope.

    Raises:
      BadItem: It is not one that the service takes.
    """
    envelope = _object(item, "envelope")
    if envelope.get("iKey") != key:
        raise BadItem("Invalid instrumentation key")
    _check_frame(envelope)
    _check_data(_object(envelope.get("data"), "data"))
    return envelope


def _check_frame(envelope: JsonObject) -> None:
    for name in ("name", "time"):
        if not isinstance(envelope.get(name), str) or not envelope[name]:
            raise BadItem(f"Field '{name}' on type 'Envelope' is required but missing or empty.")
    try:
        datetime.fromisoformat(envelope["time"])
    except ValueError:
        raise BadItem("Field 'time' on type 'Envelope' is no date.") from None
    for tag, value in _object(envelope.get("tags", {}), "tags").items():
        if not isinstance(value, str | None):
            raise BadItem(f"Tag '{tag}' is no text.")


def _check_data(data: JsonObject) -> None:
    kind, base = str(data.get("baseType")), _object(data.get("baseData"), "baseData")
    if kind not in REQUIRED:
        raise BadItem(f"'{kind}' is no known baseType.")
    if base.get("ver") != 2:
        raise BadItem("Field 'ver' on type 'Domain' must be 2.")
    for name in REQUIRED[kind]:
        if base.get(name) in (None, "", []):
            raise BadItem(f"Field '{name}' on type '{kind}' is required but missing or empty.")
    if "duration" in base:
        milliseconds(base["duration"])
    _check_properties(base)


def tags_of(envelope: JsonObject) -> JsonObject:
    """Give the tags of an envelope, which say where it belongs."""
    return cast("JsonObject", envelope.get("tags") or {})


def milliseconds(duration: object) -> float:
    """Read a duration of the form ``d.hh:mm:ss.fff``.

    Raises:
      BadItem: It is none.
    """
    match = _DURATION.fullmatch(str(duration))
    if match is None:
        raise BadItem("Field 'duration' is not of the form d.hh:mm:ss.fff.")
    days, hours, minutes, seconds = (int(part) for part in match.groups()[:4])
    return (((days * 24 + hours) * 60 + minutes) * 60 + seconds) * 1000 + float(f"0.{match[5]}") * 1000


def _check_properties(base: Mapping[str, object]) -> None:
    for name, value in _object(base.get("properties") or {}, "properties").items():
        if not isinstance(value, str):
            raise BadItem(f"Property '{name}' is no text.")
        if len(name) > MAX_KEY_CHARS or len(value) > MAX_VALUE_CHARS:
            raise BadItem(f"Property '{name[:MAX_KEY_CHARS]}' is too long.")
    for name, value in _object(base.get("measurements") or {}, "measurements").items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadItem(f"Measurement '{name}' is no number.")


def _object(value: object, what: str) -> JsonObject:
    if not isinstance(value, dict):
        raise BadItem(f"The {what} is no object.")
    return cast("JsonObject", value)
