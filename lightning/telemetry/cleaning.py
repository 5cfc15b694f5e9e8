"""Takes the secrets out of spans, before they leave the process by any way."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final, cast

import orjson
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.trace import Link, Status, StatusCode
from opentelemetry.util.types import Attributes

from lightning.telemetry.redaction import Redactor

#: Longer attributes are cut: a trace says what happened, the log holds the content.
MAX_TEXT_LENGTH: Final = 16_384

#: Texts up to this length are redacted once and remembered.
MAX_CACHED_LENGTH: Final = 64

#: Values up to this length are looked through once and remembered: words, and not ids, which are longer.
MAX_WORD_LENGTH: Final = 24

#: So many harmless texts are remembered, and then all are forgotten.
MAX_HARMLESS: Final = 4096

_NUMBERS: Final = frozenset({int, float, bool})


class Cleaner:
    """Redacts what spans hold.

    Parameters:
      redactor: What must not get out.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._harmless: set[str] = set()
        self._short = lru_cache(maxsize=2048)(redactor.text)  # names and words come again and again

    def text(self, text: str) -> str:
        """Return a text without secrets, cut to what a span may hold."""
        if len(text) <= MAX_CACHED_LENGTH:
            return self._short(text)
        # Cut last: half a secret would not be recognised.
        return self._redactor.text(text)[:MAX_TEXT_LENGTH]

    def attributes(self, attributes: Mapping[str, object] | None) -> dict[str, object]:
        """Return attributes without secrets in their names and values."""
        return {
            self._short(name): self.text(value) if isinstance(value, str) else self._redactor.value(value)
            for name, value in (attributes or {}).items()
        }

    def span(self, span: ReadableSpan) -> ReadableSpan:
        """Return a copy of a finished span without secrets."""
        status = span.status
        if status.status_code is StatusCode.ERROR and status.description:
            status = Status(StatusCode.ERROR, self.text(status.description))
        return ReadableSpan(
            name=self.text(span.name),
            context=span.context,
            parent=span.parent,
            resource=span.resource,
            attributes=self._plain(span.attributes),
            events=[
                Event(self.text(each.name), self._plain(each.attributes), each.timestamp)
                for each in span.events
            ],
            links=[Link(link.context, self._plain(link.attributes)) for link in span.links],
            kind=span.kind,
            instrumentation_scope=span.instrumentation_scope,
            status=status,
            start_time=span.start_time,
            end_time=span.end_time,
        )

    def spans(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Return finished spans without secrets: themselves if there is none in any, else copies."""
        return spans if self.finds_nothing(spans) else [self.span(span) for span in spans]

    def finds_nothing(self, spans: Sequence[ReadableSpan]) -> bool:
        """Tell quickly whether spans may go out as they are.

        Parameters:
          spans: Finished ones.

        Returns:
          Whether none holds a secret, or a text that is too long. When in doubt False.
        """
        found = _Texts(self._harmless)
        try:
            for span in spans:
                found.add_span(span)
            encoded = [orjson.dumps(found.names), orjson.dumps(found.values), *found.encoded]
        except TypeError:  # lone surrogates, integers beyond 64 bits
            return False
        longest = max(map(len, [*found.names, *found.values, *found.encoded]), default=0)
        if longest > MAX_TEXT_LENGTH or self._redactor.suspects(b"\n".join(encoded)):
            return False
        if len(self._harmless) > MAX_HARMLESS:
            self._harmless.clear()
        self._harmless.update(name for name in found.names if len(name) <= MAX_CACHED_LENGTH)
        self._harmless.update(value for value in found.values if len(value) <= MAX_WORD_LENGTH)
        return True

    def _plain(self, attributes: Mapping[str, object] | None) -> Attributes:
        # what went in was of the types that attributes have, and a redacted one still is
        return cast("Attributes", self.attributes(attributes))


def encode(value: object) -> bytes:
    """Encode what a span holds as JSON.

    Raises:
      TypeError: It cannot be encoded, as lone surrogates and integers beyond 64 bits.
    """
    return orjson.dumps(value, default=_plain_data)


class _Texts:
    """What has to be looked through of some spans.

    Parameters:
      harmless: Texts in which nothing was found before.
    """

    def __init__(self, harmless: set[str]) -> None:
        self._harmless = harmless
        self.names: list[str] = []
        self.values: list[str] = []
        self.encoded: list[bytes] = []

    def add_span(self, span: ReadableSpan) -> None:
        """Add a span's name, description, attributes, events and links."""
        if span.name not in self._harmless:
            self.names.append(span.name)
        if span.status.description:
            self.values.append(span.status.description)
        self._add(span.attributes)
        for event in span.events:
            self.names.append(event.name)
            self._add(event.attributes)
        for link in span.links:
            self._add(link.attributes)

    def _add(self, attributes: Mapping[str, object] | None) -> None:
        harmless = self._harmless
        if not attributes:
            return
        if not harmless.issuperset(attributes):
            self.names += [name for name in attributes if name not in harmless]
        try:
            unknown = [value for value in attributes.values() if value not in harmless]
        except TypeError:  # one that has no hash
            unknown = list(attributes.values())
        for value in unknown:
            kind = type(value)
            if kind is str:
                self.values.append(cast("str", value))
            elif kind not in _NUMBERS:
                self.encoded.append(encode(value))


def _plain_data(value: object) -> object:
    if isinstance(value, BoundedAttributes | MappingProxyType):
        return cast("BoundedAttributes", value).copy()
    return repr(value)
