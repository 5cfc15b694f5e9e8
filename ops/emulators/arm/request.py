"""What is asked of Resource Manager, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from ops.emulators.arm.address import Address
from ops.emulators.arm.errors import ArmError, invalid
from ops.emulators.arm.group import Place

API_VERSION: Final = "2023-05-01"
OPERATION_API_VERSION: Final = "2018-06-01"
MAX_BODY_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back.

    Parameters:
      status: The HTTP status; 0 drops the connection instead.
      body: A JSON value; None: nothing.
      headers: Further headers.
    """

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked.

    Parameters:
      operation: One of `OPERATIONS`.
      address: What the path names.
      query: The query's parameters, the last value of each.
      origin: Scheme and host by which the server was reached.
      body: As it came.
    """

    operation: str
    address: Address
    query: Mapping[str, str]
    origin: str
    body: bytes

    @property
    def place(self) -> Place:
        """The container group that the path names."""
        return Place(self.address.subscription, self.address.resource_group, self.address.name)

    def json(self) -> object:
        """Read the body.

        Raises:
          ArmError: It is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise invalid("it is not JSON") from None


def check_version(query: Mapping[str, str], known: str) -> None:
    """Demand the one version of the interface that is here.

    Raises:
      ArmError: 400.
    """
    version = query.get("api-version")
    if version is None:
        message = "The api-version query parameter (?api-version=) is required for all requests."
        raise ArmError(400, "MissingApiVersionParameter", message)
    if version != known:
        message = (
            f"No registered resource provider found for API version '{version}'. The supported api-versions"
            f" are '{known}'."
        )
        raise ArmError(400, "NoRegisteredProviderFound", message)
