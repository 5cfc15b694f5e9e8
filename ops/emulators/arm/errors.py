"""The errors of Azure Resource Manager's wire.

Source: "Common error response" of Azure Resource Manager's REST reference.
"""


class ArmError(Exception):
    """An answer that is not success.

    Parameters:
      status: The HTTP status.
      code: The service's word for the case.
      message: What is wrong, for the body.
      headers: Further headers of the answer.
    """

    def __init__(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers or {}

    @property
    def body(self) -> dict[str, dict[str, str]]:
        """The JSON body."""
        return {"error": {"code": self.code, "message": self.message}}


def outside_subset(what: str) -> ArmError:
    """Refuse what this emulator does not do, by name, rather than answer wrongly."""
    message = f"Outside the emulator's subset: {what}. See FIDELITY.md beside the emulator."
    return ArmError(400, "OutsideEmulatorSubset", message)


def invalid(what: str) -> ArmError:
    """Refuse a request that Azure refuses too."""
    return ArmError(400, "InvalidRequestContent", f"The request content was invalid: {what}.")


def transitioning(name: str) -> ArmError:
    """Refuse an operation while another one of the same group is under way."""
    message = f"The container group '{name}' is still transitioning, please retry later."
    return ArmError(409, "ContainerGroupTransitioning", message)


def forbidden(name: str) -> ArmError:
    """Refuse who has no role for what they ask."""
    message = (
        "The client does not have authorization to perform this action over the scope"
        f" '.../containerGroups/{name}', or the scope is invalid."
    )
    return ArmError(403, "AuthorizationFailed", message)


def inaccessible_image(image: str, group: str) -> ArmError:
    """Refuse an image that cannot be pulled."""
    message = (
        f"The image '{image}' in container group '{group}' is not accessible. Please check the image"
        " and registry credential."
    )
    return ArmError(400, "InaccessibleImage", message)


def quota_reached(quota: str, region: str, *, limit: float, usage: float, requested: float) -> ArmError:
    """Refuse what is beyond a quota of the subscription in a region."""
    message = (
        f"Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota '{quota}'"
        f" exceeded in region '{region}'. Limit: '{limit:g}', Usage: '{usage:g}' Requested: '{requested:g}'."
    )
    return ArmError(409, "ContainerGroupQuotaReached", message)


def no_capacity(region: str, *, cpu: float, memory_gb: float) -> ArmError:
    """Refuse what the region has no room for."""
    message = (
        f"The requested resource is not available in the location '{region}' at this moment. Please retry"
        f" with a different resource request or in another location. Resource requested: '{cpu:g}' CPU"
        f" '{memory_gb:g}' GB memory 'Linux' OS."
    )
    return ArmError(409, "ServiceUnavailable", message)


def too_many_requests(seconds: float) -> ArmError:
    """Refuse who asks too often."""
    message = "The request was throttled. Please retry after the time that the header Retry-After says."
    return ArmError(429, "TooManyRequests", message, {"Retry-After": f"{seconds:g}"})
