"""Says what a refusal of Azure Container Instances means for who asked: never, not there, or again later.

Sources: "Common error response" and "Throttling Resource Manager requests" of Azure Resource Manager,
"Troubleshoot common issues in Azure Container Instances".
"""

import math
from typing import Any, Final, cast

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError

from lightning.errors import LightningError, Permanent, Transient

#: The service's own codes.
TRANSITIONING: Final = "ContainerGroupTransitioning"
LOGS_NOT_READY: Final = frozenset({TRANSITIONING, "ContainerLogNotAvailable"})
_IMAGE: Final = frozenset({"InaccessibleImage", "ImageNotFound", "RegistryErrorResponse"})
_NO_ROOM: Final = frozenset({"ContainerGroupQuotaReached", "ServiceUnavailable", "QuotaExceeded"})

#: A quota or a region has room again when some run ends; a group that transitions, in seconds.
_NO_ROOM_SECONDS: Final = 30.0
_THROTTLED_SECONDS: Final = 10.0
_TRANSITION_SECONDS: Final = 5.0


def status_of(error: AzureError) -> int:
    """Give the status of an answer; 0 when there was none."""
    return error.status_code or 0 if isinstance(error, HttpResponseError) else 0


def code_of(error: AzureError) -> str:
    """Give the service's word for a refusal; empty when there is none."""
    return str(getattr(getattr(error, "error", None), "code", None) or "")


def failure(error: AzureError, *, where: str) -> LightningError:
    """Turn a refusal, or silence, into an error of ours.

    Parameters:
      error: What the SDK raised.
      where: The endpoint and resource group, for the message.
    """
    status, code = status_of(error), code_of(error)
    if code in _NO_ROOM:
        return Transient(
            f"Azure has no room for another container: {_said(error)} It is tried again; raise the quota of"
            " Container Instances, or lower what runs ask for, if this lasts",
            retry_after=_named_seconds(error) or _NO_ROOM_SECONDS,
            code="runner_quota",
        )
    if status == 429:
        message = f"Azure Resource Manager is asked too often ({where})"
        return Transient(
            message, retry_after=_named_seconds(error) or _THROTTLED_SECONDS, code="runner_throttled"
        )
    if code == TRANSITIONING:
        message = "Azure is still busy with this run's container group"
        return Transient(message, retry_after=_TRANSITION_SECONDS, code="runner_unavailable")
    if code in _IMAGE:
        message = f"The run's image cannot be pulled; check its name and ACI_REGISTRY_*: {_said(error)}"
        return Permanent(message, code="image_missing")
    if status in {400, 409, 413, 422}:
        message = f"Azure Container Instances refuses this run ({code or status}): {_said(error)}"
        return Permanent(message, code="run_refused")
    return Transient(_trouble(error, status, where), retry_after=2.0, code="runner_unavailable")


def _trouble(error: AzureError, status: int, where: str) -> str:
    if isinstance(error, ClientAuthenticationError) and not status:  # nobody was asked yet
        words = error.message.partition("\n")[0][:300]
        return f"The identity gives no token for {where}: {words}"
    if status in {401, 403}:
        hint = "give the identity of the processes the role Contributor on the resource group"
        return f"Azure refuses us at {where} ({status}); {hint}"
    if status == 404:
        hint = "check ACI_SUBSCRIPTION and ACI_RESOURCE_GROUP, or deploy them, as infra/ does"
        return f"Azure has no such place as {where} ({code_of(error) or status}); {hint}"
    answer = f"answers {status}" if status else f"does not answer ({type(error).__name__})"
    return f"Azure Resource Manager at {where} {answer}; what was asked may or may not have been done"


def _said(error: AzureError) -> str:
    """Give the service's words, without the request that the SDK's error holds."""
    return str(getattr(getattr(error, "error", None), "message", None) or type(error).__name__)[:500]


def _named_seconds(error: AzureError) -> float:
    response = cast("Any", getattr(error, "response", None))
    try:
        seconds = float(response.headers.get("Retry-After", 0)) if response is not None else 0.0
    except ValueError:
        return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
