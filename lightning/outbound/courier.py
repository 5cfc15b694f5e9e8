"""One signed message to one endpoint, by Standard Webhooks, as a span of its trace."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from opentelemetry import trace
from standardwebhooks import Webhook as Signer

from lightning.errors import LightningError
from lightning.outbound.http import Outbound, SendError
from lightning.outbound.target import read_url
from lightning.telemetry import carrier, names

#: The longest wait that an endpoint may ask for by ``Retry-After``.
MAX_RETRY_AFTER_SECONDS: Final = 3600.0

_BUSY: Final = (429, 503)

_tracer = trace.get_tracer(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one POST.

    Parameters:
      status: The HTTP status, if there was one.
      error: Why it counts as failed; None for a status of 200 to 299.
      message: The same for people.
      answer: The first bytes of the answer.
      retry_after: The seconds that the endpoint asked us to wait, bounded.
    """

    status: int | None = None
    error: str | None = None
    message: str | None = None
    answer: bytes = b""
    retry_after: float = 0.0

    @property
    def is_outage(self) -> bool:
        """Tell whether others would fare the same now; other refusals are about this message."""
        return self.error is not None and (self.status is None or self.status == 429 or self.status >= 500)


class Courier:
    """Posts messages to webhooks.

    Parameters:
      outbound: Makes the requests.
    """

    def __init__(self, outbound: Outbound) -> None:
        self._outbound = outbound
        self.timeout_seconds = outbound.timeout_seconds

    async def post(
        self, url: str, body: bytes, *, webhook_id: str, message_id: str, secrets: Sequence[str]
    ) -> Result:
        """Post a message. What fails is told, not raised.

        The span names the host and nothing else of the URL: path and query of a webhook hold secrets.

        Parameters:
          url: The endpoint's.
          body: JSON.
          webhook_id: The endpoint.
          message_id: The ``webhook-id``, the same for each attempt.
          secrets: What to sign with.
        """
        with _tracer.start_as_current_span(
            names.POST,
            kind=trace.SpanKind.CLIENT,
            attributes={names.HTTP_REQUEST_METHOD: "POST", names.WEBHOOK: webhook_id},
        ) as span:
            result = await self._post(span, url, body, message_id, secrets)
            if result.status is not None:
                span.set_attribute(names.HTTP_RESPONSE_STATUS_CODE, result.status)
            if result.error is not None:
                span.set_status(trace.StatusCode.ERROR, result.message)
                span.set_attribute(names.ERROR_CODE, result.error)
            return result

    async def _post(
        self, span: trace.Span, url: str, body: bytes, message_id: str, secrets: Sequence[str]
    ) -> Result:
        headers = {
            "content-type": "application/json",
            "user-agent": "Lightning-Webhooks",
            **signed(message_id, body, secrets),
            **carrier.current(),
        }
        try:
            target = read_url(url, self._outbound.guard)
            span.set_attributes({names.SERVER_ADDRESS: target.host, names.SERVER_PORT: target.port})
            answer = await self._outbound.post(target, body, headers)
        except SendError as error:
            return Result(error.answered, error.code, error.message)
        except LightningError as error:  # the operator's rules are others than when the URL was given
            return Result(None, error.code, error.message)
        return _read(answer.status, answer.headers.get("retry-after"), answer.body)


def signed(message_id: str, body: bytes, secrets: Sequence[str]) -> dict[str, str]:
    """Give the headers of Standard Webhooks, with one signature for each secret."""
    now, text = datetime.now(UTC), body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Signer(secret).sign(message_id, now, text) for secret in secrets),
    }


def _read(status: int, retry_after: str | None, body: bytes) -> Result:
    if 200 <= status <= 299:
        return Result(status, answer=body)
    if 300 <= status <= 399:
        message = f"the endpoint answered {status}; redirects are not followed"
        return Result(status, "redirect_refused", message, body)
    seconds = _seconds(retry_after) if status in _BUSY and retry_after else 0.0
    return Result(status, "unexpected_status", f"the endpoint answered {status}", body, seconds)


def _seconds(retry_after: str) -> float:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3), bounded; 0 where it says nothing that can be kept."""
    try:
        if retry_after.isascii() and retry_after.isdigit():
            seconds = float(retry_after)
        else:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, math.ceil(seconds)), MAX_RETRY_AFTER_SECONDS)
