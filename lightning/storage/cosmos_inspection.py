"""What the containers of an account are, beside what they should be."""

from dataclasses import dataclass
from typing import Any

from azure.core.exceptions import AzureError
from azure.cosmos.aio import DatabaseProxy

from lightning.azure_identity import own_identity
from lightning.errors import LightningError
from lightning.keys import secret
from lightning.settings import Settings
from lightning.storage import CONTAINERS, container_names
from lightning.storage.cosmos_account import PARTITION_PATH
from lightning.storage.cosmos_client import open_client
from lightning.storage.cosmos_errors import failure, status_of
from lightning.storage.cosmos_indexes import lacking
from lightning.storage.cosmos_opening import where_and_who


@dataclass(frozen=True, slots=True)
class Inspected:
    """One container.

    Parameters:
      name: Its name in the account.
      wrong: What is wrong with it, in words; empty: it is as it should be.
      missing: Whether it, or its database, is not there.
      error: Why it could not be looked at; None: it could.
    """

    name: str
    wrong: tuple[str, ...] = ()
    missing: bool = False
    error: LightningError | None = None


async def inspect(settings: Settings) -> list[Inspected]:
    """Look at every container; after one that could not be looked at, at no other."""
    identity = own_identity(settings.identity, settings.azure_client_id)
    address, credential = where_and_who(
        secret(settings.cosmos_connection), settings.cosmos_endpoint, identity
    )
    names = container_names(settings)
    found: list[Inspected] = []
    client = open_client(address, credential)
    try:
        await client.__aenter__()  # a ``with`` would leave it open where this fails
        database = client.get_database_client(settings.cosmos_database)
        for kind, name in names.items():
            found.append(await _inspected(database, kind, name))
    except AzureError as error:
        name = list(names.values())[len(found)]
        found.append(Inspected(name, error=failure(error, address=address)))
    finally:
        await client.close()
    return found


async def _inspected(database: DatabaseProxy, kind: str, name: str) -> Inspected:
    try:
        properties = await database.get_container_client(name).read()
    except AzureError as error:
        if status_of(error) != 404:
            raise
        return Inspected(name, missing=True)
    return Inspected(name, tuple(_faults(kind, properties)))


def _faults(kind: str, properties: dict[str, Any]) -> list[str]:
    wrong: list[str] = []
    if properties["partitionKey"]["paths"] != [PARTITION_PATH]:
        wrong.append(f"it is partitioned by {properties['partitionKey']['paths']}, not {PARTITION_PATH}")
    if properties.get("defaultTtl") is None:
        wrong.append("its documents cannot expire (no default TTL, which should be -1)")
    paths, composites = lacking(properties["indexingPolicy"], CONTAINERS[kind])
    if paths:
        wrong.append(f"no index of {', '.join(entry['path'] for entry in paths)}")
    fields = (", ".join(entry["path"] for entry in composite) for composite in composites)
    return [*wrong, *(f"no composite index of {each}" for each in fields)]
