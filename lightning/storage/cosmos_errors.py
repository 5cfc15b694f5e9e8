"""Says what a refusal of Cosmos DB means for who asked: never, not so, or again later.

Source: "HTTP status codes for Azure Cosmos DB" and "Transactional batch operations in Azure Cosmos DB".
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.cosmos.exceptions import CosmosBatchOperationError

from lightning.errors import (
    Conflict,
    LightningError,
    Permanent,
    PreconditionFailed,
    StoreMisconfigured,
    Transient,
)

THROTTLED: Final = 429

#: A write met another one of the same document; nothing was done, and it may be asked again at once.
RETRY_WITH: Final = 449

#: Whoever answered has not caught up with the session token.
NOT_CAUGHT_UP: Final = 1002

#: A region that was left, or is not known yet: a matter of minutes.
MOVING: Final = frozenset({3, 1008})

#: A replica is milliseconds behind. One that is after so many attempts, over a second, will not catch up.
CATCHING_UP_ATTEMPTS: Final = 6

MAY_BE_DONE: Final = "what was asked may or may not have been done"


def status_of(error: AzureError) -> int:
    """Give the status of an answer; 0 when there was none."""
    return error.status_code or 0 if isinstance(error, HttpResponseError) else 0


def sub_status_of(error: AzureError) -> int:
    """Give the service's finer status; 0 when there is none."""
    return int(getattr(error, "sub_status", 0) or 0)


def headers_of(error: AzureError) -> Mapping[str, str]:
    """Give the headers of an answer; none when there was none."""
    return cast("Mapping[str, str]", getattr(error, "headers", None) or {})


def asked_again(error: AzureError, attempt: int) -> float | None:
    """Say how long to wait before a refused request is asked again; None when it must not be.

    Parameters:
      error: The refusal.
      attempt: How often it was asked, from 0.

    Returns:
      Seconds.
    """
    status = status_of(error)
    if status == THROTTLED:
        return max(_named_seconds(error), min(0.02 * 2**attempt, 1.0))
    if status == RETRY_WITH:
        return min(0.01 * 2**attempt, 1.0)
    if sub_status_of(error) == NOT_CAUGHT_UP and attempt < CATCHING_UP_ATTEMPTS:
        return 0.02 * 2**attempt
    return None


def _named_seconds(error: AzureError) -> float:
    try:
        seconds = float(headers_of(error).get("x-ms-retry-after-ms", 0)) / 1000
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) else 0.0


def failure(error: AzureError, ids: Sequence[str] = (), *, address: str) -> LightningError:
    """Turn a refusal, or silence, into an error of ours.

    Parameters:
      error: What the SDK raised.
      ids: The document of each operation of the batch.
      address: The account, for the message.
    """
    status = status_of(error)
    if isinstance(error, CosmosBatchOperationError) and status in {404, 409, 412}:
        return _unmet(status, ids[cast("int", error.error_index)])
    if status == 413:
        return Permanent("a batch over 2 MB", code="output_too_large")
    if status == 400:
        return Permanent(f"Cosmos DB takes no such request: {_said(error)}", code="store_refused")
    if status == THROTTLED:
        message = f"Cosmos DB at {address} is asked for more than its throughput; raise its request units"
        return Transient(message, retry_after=_named_seconds(error) or 1, code="store_throttled")
    kind = StoreMisconfigured if _needs_operator(error, status) else Transient
    return kind(_trouble(error, status, address), retry_after=1, code="store_unavailable")


def _needs_operator(error: AzureError, status: int) -> bool:
    if status == 403:
        return sub_status_of(error) not in MOVING
    if status == 404:
        return sub_status_of(error) != NOT_CAUGHT_UP
    return status == 401 or (isinstance(error, ClientAuthenticationError) and not status)


def _unmet(status: int, document: str) -> LightningError:
    if status == 409:
        return Conflict(f"{document} exists", pointer=document)
    return PreconditionFailed(f"{document} was changed, or is gone", pointer=document)


def _trouble(error: AzureError, status: int, address: str) -> str:
    if isinstance(error, ClientAuthenticationError) and not status:  # nobody was asked yet
        words = error.message.partition("\n")[0][:300]
        return f"the identity gives no token for Cosmos DB at {address}: {words}"
    if status in {401, 403}:
        hint = "check COSMOS_CONNECTION, or the role of the identity on the account, and its firewall"
        return f"Cosmos DB at {address} refuses us ({status}); {hint}"
    if status == 404 and sub_status_of(error) == NOT_CAUGHT_UP:
        return f"the replica of Cosmos DB at {address} that answered is behind; asked again, it may not be"
    if status == 404:
        return f"Cosmos DB at {address} has no such database or container; deploy them, as infra/ does"
    if status:
        return f"Cosmos DB at {address} answers {status}; {MAY_BE_DONE}"
    return f"Cosmos DB at {address} does not answer ({type(error).__name__}); {MAY_BE_DONE}"


def _said(error: AzureError) -> str:
    """Give the service's words, without the request that the SDK's error holds."""
    answers = cast("list[dict[str, Any]]", getattr(error, "operation_responses", None) or [])
    if answers:
        words = (str(each["message"]) for each in answers if each["statusCode"] >= 400 and "message" in each)
        return next(words, "one of its operations is refused")[:500]
    return str(getattr(error, "http_error_message", None) or type(error).__name__)[:500]
