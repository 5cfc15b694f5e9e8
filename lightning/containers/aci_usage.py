"""What of its quotas a subscription uses in a region."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, cast

from azure.core.exceptions import AzureError

from lightning.containers.aci import open_connection
from lightning.containers.aci_errors import failure, status_of
from lightning.errors import Forbidden, LightningError
from lightning.settings import Settings


@dataclass(frozen=True, slots=True)
class Usage:
    """One quota.

    Parameters:
      name: Azure's name for it.
      used: How much is used.
      limit: How much there is.
    """

    name: str
    used: float
    limit: float


async def usages(settings: Settings) -> list[Usage]:
    """Ask for the quotas of Container Instances in the region of the settings.

    Raises:
      Forbidden: Who asks may not see them.
      LightningError: They could not be asked for.
    """
    connection = open_connection(settings)
    refusal: LightningError
    try:
        listed = cast("AsyncIterator[Any]", connection.client.location.list_usage(settings.aci_region))
        return [Usage(each.name.value, each.current_value, each.limit) async for each in listed]
    except AzureError as error:
        if status_of(error) in {401, 403}:
            refusal = Forbidden("who asks may not see the quotas of the subscription")
        else:
            refusal = failure(error, where=connection.address)
    finally:
        await connection.close()
    raise refusal
