"""What goes wrong between a client and the platform."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

#: The platform, or what stands before it, may do later what it did not do now.
TEMPORARY_STATUSES = frozenset({429, 502, 503, 504})

_TEMPORARY_FAILURES = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)


class ClientError(Exception):
    """The platform refused, or could not be reached.

    Parameters:
      message: What happened, for a person.
      status: The HTTP status, if there was an answer.
      code: The problem's code, if there was one.
      pointer: JSON pointer (RFC 6901) to the field at fault, if one is.
      retry_after: Seconds to wait before the next attempt, if the platform named them.
      temporary: Whether the same request may succeed later; as the status says by default.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        pointer: str | None = None,
        retry_after: float | None = None,
        temporary: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.pointer = pointer
        self.retry_after = retry_after
        self.temporary = status in TEMPORARY_STATUSES if temporary is None else temporary


def refused(response: httpx2.Response) -> ClientError:
    """Read an answer that is no success, problem details (RFC 9457) or not; its body has been read."""
    retry_after = _seconds(response.headers.get("retry-after"))
    try:
        problem = response.json()
        return ClientError(
            problem["detail"],
            status=response.status_code,
            code=problem["code"],
            pointer=problem.get("pointer"),
            retry_after=retry_after,
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        detail = f"{response.url.host} answers {response.status_code}: {response.text[:200]}"
        return ClientError(detail, status=response.status_code, retry_after=retry_after)


def unreadable(url: str) -> ClientError:
    """Say that something else than Lightning seems to answer."""
    return ClientError(f"{url} does not answer as Lightning does; check the address")


def unreachable(url: str, error: httpx2.HTTPError) -> ClientError:
    """Say that there was no answer."""
    return ClientError(
        f"{url} cannot be reached ({type(error).__name__}); is `lightning up` running there?",
        temporary=isinstance(error, _TEMPORARY_FAILURES),
    )


def unsendable(error: ValueError | RecursionError | httpx2.InvalidURL) -> ClientError:
    """Say that a request cannot be written down."""
    if isinstance(error, httpx2.InvalidURL):
        return ClientError("an id or a query is too long for an address; give a shorter one")
    if isinstance(error, RecursionError):
        return ClientError("this is nested too deep for JSON; give it with fewer levels")
    if isinstance(error, UnicodeEncodeError) and error.encoding == "ascii":
        return ClientError("what goes into a header, as keys do, is to be ASCII; give another")
    return ClientError("this holds what JSON cannot: NaN, infinity or half a character; leave that out")


def _seconds(retry_after: str | None) -> float | None:
    """Read ``Retry-After`` (RFC 9110, section 10.2.3): seconds or a date."""
    if retry_after is None:
        return None
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (moment.astimezone(UTC) - datetime.now(UTC)).total_seconds())
