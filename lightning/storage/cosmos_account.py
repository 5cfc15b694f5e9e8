"""The account of Cosmos DB that a process works with: its client, and the containers in it."""

import asyncio
import copy
import io
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

import structlog
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.core.pipeline.transport import AioHttpTransport
from azure.cosmos import PartitionKey
from azure.cosmos.aio import ContainerProxy, CosmosClient, DatabaseProxy
from azure.cosmos.documents import ConnectionPolicy

from lightning.azure_identity import AsyncIdentity
from lightning.errors import StoreMisconfigured
from lightning.storage.cosmos_errors import status_of
from lightning.storage.cosmos_indexes import completed, indexing_policy, kept
from lightning.storage.cosmos_version import check_version
from lightning.storage.port import CONTAINERS

#: To reach the account, and for an answer of it.
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 8

#: From here on aiohttp wants a file for a body.
LARGE_BYTES: Final = 512 * 1024

PARTITION_PATH: Final = "/userID"

_log = structlog.get_logger(__name__)

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


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


_Send: TypeAlias = Callable[..., Awaitable[Any]]


class _Transport(AioHttpTransport):
    """Hands over large bodies as files, which aiohttp sends without holding the event loop up."""

    async def send(self, request: Any, **config: Any) -> Any:
        """Send a request; it stays as it is, since it may be sent again."""
        data = request.data
        if isinstance(data, str | bytes) and len(data) > LARGE_BYTES:
            request = copy.copy(request)
            request.data = io.BytesIO(data.encode() if isinstance(data, str) else data)
        send = cast("_Send", super().send)  # pyright: ignore[reportUnknownMemberType]
        return await send(request, **config)


def _asking_once() -> ConnectionPolicy:
    """Let the SDK ask nothing again: who asked knows whether that does no harm, and how long there is.

    A write whose connection broke may have been done: asked once more, it would meet itself.
    """
    policy = ConnectionPolicy()
    policy.RetryOptions = type(policy.RetryOptions)(max_retry_attempt_count=0)
    return policy


def open_client(address: str, credential: str | AsyncIdentity) -> CosmosClient:
    """Open a client, which asks nothing again by itself.

    Parameters:
      address: The account's endpoint.
      credential: What signs the requests: a key, or who asks.
    """
    parts = urlsplit(address)
    return CosmosClient(
        address,
        credential,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        connection_policy=_asking_once(),
        retry_total=0,
        retry_connect=0,
        retry_read=0,
        retry_status=0,
        # else aiohttp looks for proxies and for ~/.netrc at each request, in a thread
        transport=_Transport(use_env_settings=False),
        # An emulator speaks of itself by an address that may not be the one it is reached by.
        enable_endpoint_discovery=parts.scheme == "https" and parts.hostname not in _LOOPBACK,
        enable_compact_utf8_item_writes=True,
        user_agent_suffix="lightning",
    )
