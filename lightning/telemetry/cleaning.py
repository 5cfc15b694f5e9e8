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


class Cleaner:
    """Redacts what spans hold.

    Parameters:
      redactor: What must not get out.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
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
        try:
            is_clean = self.finds_nothing([_encoded_texts(span) for span in spans])
        except TypeError:  # lone surrogates, integers beyond 64 bits
            is_clean = False
        return spans if is_clean else [self.span(span) for span in spans]

    def finds_nothing(self, encoded: Sequence[bytes]) -> bool:
        """Tell quickly whether spans may go out as they are.

        Parameters:
          encoded: Of each span all its texts, as JSON in UTF-8 (:func:`encode`).

        Returns:
          Whether none holds a secret, or a text that is too long. When in doubt False.
        """
        return max(map(len, encoded), default=0) <= MAX_TEXT_LENGTH and not self._redactor.suspects(
            b"\n".join(encoded)
        )

    def _plain(self, attributes: Mapping[str, object] | None) -> Attributes:
        # what went in was of the types that attributes have, and a redacted one still is
        return cast("Attributes", self.attributes(attributes))


def encode(value: object) -> bytes:
    """Encode what a span holds as JSON.

    Raises:
      TypeError: It cannot be encoded, as lone surrogates and integers beyond 64 bits.
    """
    return orjson.dumps(value, default=_plain_data)


def _encoded_texts(span: ReadableSpan) -> bytes:
    return encode(
        (
            span.name,
            span.status.description,
            span.attributes,
            [(event.name, event.attributes) for event in span.events] if span.events else None,
            [link.attributes for link in span.links] if span.links else None,
        )
    )


def _plain_data(value: object) -> object:
    if isinstance(value, BoundedAttributes | MappingProxyType):
        return cast("BoundedAttributes", value).copy()
    return repr(value)
