"""Says what a failed call to an OpenAI-compatible server means for the event: again later, or never.

The provider's codes: https://platform.openai.com/docs/guides/error-codes
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import mktime_tz, parsedate_tz
from typing import cast

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError, AsyncStream

from lightning.errors import LightningError, Permanent, Transient
from lightning.telemetry.redaction import Redactor

#: A provider's message is meant for a person; a page of HTML is not.
MESSAGE_CHARACTERS = 500


#: What servers say when the conversation is longer than the model's window: OpenAI and Azure by a code,
#: llama.cpp by a type, others only in words.
TOO_LONG_CODES = frozenset({"context_length_exceeded", "exceed_context_size_error"})
TOO_LONG_WORDS = ("maximum context length", "context window", "exceeds the available context size")


@dataclass(frozen=True, repr=False)
class Credentials:
    """What a server is shown, as far as its errors go.

    Parameters:
      secrets: The key or token, which some servers quote in their errors.
      name: What it is, for a person.
      check: What to look at when it is refused.
    """

    secrets: list[str]
    name: str = "the key"
    check: str = "OPENAI_API_KEY"


@dataclass(frozen=True, repr=False)
class FailureReader:
    """Turns the SDK's errors into ours, without the key in their text.

    Parameters:
      credentials: What the server is shown.
      base_url: The server that was asked, for the message.
      timeout_seconds: The silence that counts as lost, for the message.
    """

    credentials: Credentials
    base_url: str
    timeout_seconds: float

    def of(self, error: Exception, *, streaming: bool) -> LightningError:
        """Read an error of the SDK.

        Parameters:
          error: What it raised.
          streaming: Whether the answer had begun.
        """
        if isinstance(error, APIStatusError):
            return self._refused(error)
        if isinstance(error, APITimeoutError):
            return Transient(
                f"The language model was silent for {self.timeout_seconds:g} s.", code="model_timeout"
            )
        if isinstance(error, APIConnectionError) and not streaming:
            return Transient(
                f"The language model at {self.base_url} cannot be reached: {self._reason(error)}",
                code="model_unreachable",
            )
        return self._cut(self._reason(error))

    def unfinished(self, chunks: AsyncStream[object] | None) -> LightningError:
        """Say that an answer ended in good order, but without a finish reason."""
        content_type = chunks.response.headers.get("content-type", "") if chunks else ""
        if content_type.startswith("text/event-stream"):
            return self._cut("it ended without a finish reason")
        return self._cut(f"it is no stream, but {content_type!r}; check OPENAI_BASE_URL ({self.base_url})")

    def _cut(self, reason: str) -> Transient:
        return Transient(f"The language model's answer was cut: {reason}", code="model_stream_cut")

    def _refused(self, error: APIStatusError) -> LightningError:
        """Read an answer that is an error by its status."""
        status, message = error.status_code, self._message(error)
        if status == 429 and "insufficient_quota" in (error.code, error.type):
            return Permanent(
                f"The language model's quota is spent; add credit or raise its limit: {message}",
                code="model_quota_exhausted",
            )
        if status == 429 or status >= 500 or status in {408, 409}:
            code = "model_rate_limited" if status == 429 else "model_unavailable"
            text = f"The language model cannot answer now ({status}): {message}"
            return Transient(text, retry_after=retry_after_seconds(error.response.headers), code=code)
        if status == 401:  # its message quotes a part of the key
            return Permanent(
                f"The language model did not accept {self.credentials.name} (401); check"
                f" {self.credentials.check}.",
                code="model_credentials_refused",
            )
        if status == 403:
            return Permanent(
                f"The language model forbids this to {self.credentials.name} (403); check"
                f" {self.credentials.check}: {message}",
                code="model_credentials_refused",
            )
        if _is_too_long(error, message):
            return Permanent(
                "The conversation is too long for the language model; send a shorter message, or begin a new"
                f" conversation: {message}",
                code="context_too_long",
            )
        return Permanent(
            f"The language model refused the request ({status}): {message}", code="model_refused"
        )

    def _message(self, error: APIError) -> str:
        """Give the provider's own words."""
        if isinstance(error.body, dict):
            message = cast("dict[str, object]", error.body).get("message")
            if isinstance(message, str) and message:
                return self._fit(message)
        return self._fit(error.message)

    def _reason(self, error: Exception) -> str:
        """Give the innermost cause, since the SDK's own text is only "Connection error."."""
        if isinstance(error, APIConnectionError) and error.__cause__ is not None:
            cause = error.__cause__
            return self._fit(f"{type(cause).__name__}: {cause}")
        return self._message(error) if isinstance(error, APIError) else self._fit(str(error))

    def _fit(self, text: str) -> str:
        return Redactor(self.credentials.secrets).text(text)[:MESSAGE_CHARACTERS]


def _is_too_long(error: APIStatusError, message: str) -> bool:
    if not {error.code, error.type}.isdisjoint(TOO_LONG_CODES):
        return True
    return error.status_code in {400, 413, 422} and any(words in message.lower() for words in TOO_LONG_WORDS)


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read how long the provider asks us to wait.

    Parameters:
      headers: With lower-case names: ``retry-after-ms`` (OpenAI, Azure), or ``retry-after`` in
        seconds or as a date (RFC 9110, section 10.2.3).

    Returns:
      Seconds from now, not negative; None when it does not say.
    """
    value = headers.get("retry-after", "")
    seconds = _number(headers.get("retry-after-ms", ""), unit=0.001)
    if seconds is None:
        seconds = _number(value, unit=1.0)
    if seconds is None:
        seconds = _seconds_until(value)
    return None if seconds is None else max(0.0, seconds)


def _seconds_until(text: str) -> float | None:
    try:
        date = parsedate_tz(text)
        return None if date is None else mktime_tz(date) - time.time()
    except (ValueError, OverflowError):  # a date that the calendar does not have
        return None


def _number(text: str, *, unit: float) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value * unit if math.isfinite(value) else None
