"""The account of Cosmos DB that a process works with: its client, and the containers in it."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import structlog
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy

from lightning.azure_identity import AsyncIdentity
from lightning.errors import StoreMisconfigured
from lightning.storage.cosmos_client import open_client
from lightning.storage.cosmos_errors import status_of
from lightning.storage.cosmos_indexes import completed, indexing_policy, kept
from lightning.storage.cosmos_version import check_version
from lightning.storage.port import CONTAINERS

PARTITION_PATH: Final = "/userID"

_log = structlog.get_logger(__name__)


class Account:
    """Opens the client when it is first needed, on the event loop that then runs.

    Parameters:
      address: The account's endpoint.
      credential: What signs the requests: a key, or who asks.
      database: The name of the database.
      names: The name of each container there.
      create: Whether what is missing is made; else somebody deploys it.
    """

    def __init__(
        self,
        address: str,
        credential: str | AsyncIdentity,
        *,
        database: str,
        names: Mapping[str, str],
        create: bool,
    ) -> None:
        self.address = address
        self._credential = credential
        self._database = database
        self._names = names
        self._create = create
        self._opening = asyncio.Lock()
        self._client: CosmosClient | None = None
        self._containers: dict[str, ContainerProxy] = {}

    async def container(self, name: str) -> ContainerProxy:
        """Give a container, when it is certain to be there.

        Raises:
          StoreMisconfigured: The account does not have what it should.
          StoreTooNew: A newer program wrote to it.
          AzureError: It refuses.
        """
        if not self._containers:
            async with self._opening:
                if not self._containers:
                    self._containers = await self._opened()
        return self._containers[name]

    async def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()
        self._containers = {}

    async def _opened(self) -> dict[str, ContainerProxy]:
        client = open_client(self.address, self._credential)
        self._client = client
        try:
            await client.__aenter__()
            containers = await (self._made if self._create else self._deployed)(client)
            await check_version(containers["users"], self.address)
        except BaseException:
            await self.close()
            raise
        return containers

    async def _deployed(self, client: CosmosClient) -> dict[str, ContainerProxy]:
        database = client.get_database_client(self._database)
        return {name: await self._existing(database, name) for name in CONTAINERS}

    async def _made(self, client: CosmosClient) -> dict[str, ContainerProxy]:
        with suppress(ResourceExistsError):
            await client.create_database(self._database)
        database = client.get_database_client(self._database)
        return {name: await self._made_container(database, name) for name in CONTAINERS}

    async def _made_container(self, database: DatabaseProxy, name: str) -> ContainerProxy:
        try:
            return await database.create_container(
                self._names[name],
                PartitionKey(PARTITION_PATH),
                indexing_policy=indexing_policy(CONTAINERS[name]),
                default_ttl=-1,  # documents may expire; none does unless it says so
            )
        except ResourceExistsError:
            return await self._existing(database, name)

    async def _existing(self, database: DatabaseProxy, name: str) -> ContainerProxy:
        where = f"container {self._names[name]!r} in database {self._database!r} of {self.address}"
        container = database.get_container_client(self._names[name])
        try:
            properties = await container.read()
        except AzureError as error:
            if status_of(error) != 404:
                raise
            message = f"there is no {where}; deploy it as infra/ does, or name another by its setting"
        else:
            if properties["partitionKey"]["paths"] == [PARTITION_PATH]:
                await self._complete(database, name, properties)
                return container
            message = f"the {where} is not partitioned by {PARTITION_PATH}; make it anew"
        raise StoreMisconfigured(message, retry_after=5)

    async def _complete(self, database: DatabaseProxy, name: str, properties: Mapping[str, Any]) -> None:
        """Give a container that an older version made the indexes that it lacks."""
        policy = completed(properties["indexingPolicy"], CONTAINERS[name])
        if policy is None:
            return
        if not self._create:
            # whoever deployed it would find it changed; and the identity of the process may not do so
            _log.warning("cosmos_indexes_missing", container=self._names[name], remedy="deploy infra/ again")
            return
        await database.replace_container(self._names[name], indexing_policy=policy, **kept(properties))
        _log.info("cosmos_indexes_added", container=self._names[name])
