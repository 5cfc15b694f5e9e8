"""CloudEvents 1.0 as events of ours: pure mappings, from JSON and from HTTP headers.

https://github.com/cloudevents/spec: the specification, its JSON format and its HTTP protocol binding.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, cast
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from api.accepting import compound_key
from lightning.errors import InvalidEvent, InvalidRequest, json_pointer
from lightning.events import now_text
from lightning.strict_json import Json, loads

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"

#: All attributes in headers together; what a consumer should accept at least (section "Size Limits").
MAX_HEADER_BYTES: Final = 64 * 1024

_PREFIX: Final = b"ce-"
_REQUIRED: Final = ("specversion", "id", "source", "type")
_READ: Final = frozenset({*_REQUIRED, "time", "userid", "traceparent", "tracestate"})

#: Attribute names are lower-case letters and digits; `data` and `data_base64` are no attributes.
_NAME: Final = re.compile(r"[a-z0-9]+|data_base64")
_JSON_TYPE: Final = re.compile(r"\s*[^/;\s]+/(?:[^/;\s]+\+)?json\s*(?:;.*)?", re.IGNORECASE | re.DOTALL)

#: What no string of a CloudEvent may hold (section "Type System"); the rest never gets past the JSON reader.
_DISALLOWED: Final = re.compile("[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]")

#: Our fields, and the client's own that they are made of.
_POINTERS: Final = {"metadata": "data", "userID": "userid", "timestamp": "time"}


class HeadersTooLarge(InvalidRequest):
    """The attributes in the headers are larger than the limit (RFC 6585, section 5)."""

    code = "headers_too_large"
    status = 431


def _allowed(text: str) -> str:
    if _DISALLOWED.search(text):
        raise ValueError("an attribute must not hold control characters or noncharacters")
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_allowed)]


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event. Other attributes, ``subject`` among them, are taken and not kept."""

    model_config = ConfigDict(extra="allow", strict=True)

    specversion: Literal["1.0"]
    id: Text
    source: Text
    type: Text
    time: str | None = None
    datacontenttype: str | None = None
    data: Any = None
    data_base64: str | None = None
    userid: Text | None = None
    traceparent: str | None = None
    tracestate: str | None = None


@dataclass(frozen=True, slots=True)
class Mapped:
    """A CloudEvent in our form.

    Parameters:
      raw: The event as `lightning.events.read_envelope` takes it.
      key: The idempotency key that its source and id make.
      said: The event without what was filled in; the same again whichever way it is sent.
      trace: The trace context that it carries (extension "Distributed Tracing").
    """

    raw: Json
    key: str
    said: Json
    trace: dict[str, str]


def mapped(value: Json, subject: str) -> Mapped:
    """Turn a CloudEvent in JSON format into an event of ours.

    ``data`` is the metadata, ``time`` the timestamp (now by default) and the extension ``userid`` the
    userID (the caller's own by default). Whether the event is one of ours is not checked here.

    Parameters:
      value: The JSON value.
      subject: The caller.

    Raises:
      InvalidRequest: ``unsupported_specversion``: it is no CloudEvent 1.0; or ``data_base64`` is no JSON.
      InvalidEvent: ``invalid_field`` with a pointer, or ``unsupported_data`` when the data is not JSON.
    """
    event = _checked(value)
    raw: dict[str, Json] = {"id": event.id, "source": event.source, "type": event.type}
    raw["userID"] = event.userid or subject
    if event.time is not None:
        raw["timestamp"] = event.time
    given = event.model_fields_set
    if "data_base64" in given and event.data_base64 is not None:
        raw["metadata"] = _decoded(event)
    elif "data" in given:
        raw["metadata"] = event.data
    trace = {"traceparent": event.traceparent, "tracestate": event.tracestate}
    return Mapped(
        raw={"timestamp": now_text(), **raw},
        key=compound_key("cloudevent", event.source, event.id),
        said=raw,
        trace={name: text for name, text in trace.items() if text},
    )


def own_pointer(pointer: str) -> str:
    """Turn a pointer into our event into one into the CloudEvent's JSON format."""
    field, slash, rest = pointer.removeprefix("/").partition("/")
    return f"/{_POINTERS.get(field, field)}{slash}{rest}" if pointer else ""


def is_binary(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether a request whose media type is not of CloudEvents is one in binary mode all the same."""
    required = {_PREFIX + name.encode() for name in _REQUIRED}
    return any(name in required for name, _ in headers)


def is_json(content_type: str) -> bool:
    """Tell whether data of a media type is JSON: ``*/json`` or ``*/*+json`` (JSON format, section 3.1.1)."""
    return _JSON_TYPE.fullmatch(content_type) is not None


def from_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, Json]:
    """Read the attributes of an event in binary mode (HTTP binding, section 3.1.3).

    Parameters:
      headers: Names in lower case, and values, as they came.

    Raises:
      InvalidRequest: ``invalid_header``: one is there twice or cannot be decoded, or the content
        type is among them.
      HeadersTooLarge: All of them are over `MAX_HEADER_BYTES`.
    """
    own = [(name.removeprefix(_PREFIX), value) for name, value in headers if name.startswith(_PREFIX)]
    if sum(len(name) + len(value) for name, value in own) > MAX_HEADER_BYTES:
        raise HeadersTooLarge(f"the ce- headers are over {MAX_HEADER_BYTES} bytes")
    if len({name for name, _ in own}) < len(own):
        raise InvalidRequest("a ce- header is there twice", code="invalid_header")
    values = {name.decode("latin-1"): value for name, value in own}
    if "datacontenttype" in values:
        raise InvalidRequest("in binary mode the Content-Type says what the data is", code="invalid_header")
    return {name: _header_text(name, value) for name, value in values.items() if name in _READ}


def _header_text(name: str, value: bytes) -> str:
    if value.startswith(b'"'):
        if not re.fullmatch(rb'"(?:[^"\\]|\\.)*"', value, re.DOTALL):
            raise InvalidRequest(f"the quotes of ce-{name} are not closed", code="invalid_header")
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1], flags=re.DOTALL)
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"ce-{name} is not percent-encoded UTF-8", code="invalid_header") from None


def _checked(value: Json) -> CloudEvent:
    if not isinstance(value, dict):
        raise InvalidEvent("a CloudEvent is an object", code="invalid_field", pointer="")
    for name in value:
        if not _NAME.fullmatch(name):
            raise InvalidEvent(
                "names of attributes have lower-case letters and digits only",
                code="invalid_field",
                pointer=json_pointer([name]),
            )
    if value.get("specversion") != "1.0":
        raise InvalidRequest(
            "it is no CloudEvent of specversion 1.0", code="unsupported_specversion", pointer="/specversion"
        )
    # null says that an attribute is not set (JSON format, section 2.2); of data, it is a value
    attributes = {name: each for name, each in value.items() if each is not None or name == "data"}
    try:
        event = CloudEvent.model_validate(attributes)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        raise InvalidEvent(message, code="invalid_field", pointer=json_pointer(first["loc"])) from None
    if event.datacontenttype is not None and not is_json(event.datacontenttype):
        raise InvalidEvent(
            "the data must be JSON, such as application/json",
            code="unsupported_data",
            pointer="/datacontenttype",
        )
    return event


def _decoded(event: CloudEvent) -> Json:
    """Read data that is JSON in base64."""
    if "data" in event.model_fields_set:
        raise InvalidEvent("there is data already", code="invalid_field", pointer="/data_base64")
    try:
        return loads(b64decode(cast("str", event.data_base64), validate=True))
    except (binascii.Error, ValueError):
        raise InvalidEvent("it is not base64", code="invalid_field", pointer="/data_base64") from None
    except InvalidRequest as error:
        error.pointer = "/data_base64"
        raise
