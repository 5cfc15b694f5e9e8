"""The SDK's client for Cosmos DB, without what costs time and serves nobody here."""

import copy
import io
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import (
    AsyncHTTPPolicy,
    ContentDecodePolicy,
    DistributedTracingPolicy,
    HttpLoggingPolicy,
    NetworkTraceLoggingPolicy,
    ProxyPolicy,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.cosmos.aio import CosmosClient
from azure.cosmos.documents import ConnectionPolicy

from lightning.azure_identity import AsyncIdentity

#: To reach the account, and for an answer of it.
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 8

#: From here on aiohttp wants a file for a body.
LARGE_BYTES: Final = 512 * 1024

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}

#: They log, trace and look for proxies, which nobody asks them to, and read an answer's JSON, which the SDK
#: reads again.
_LEFT_OUT: Final = (
    ContentDecodePolicy,
    DistributedTracingPolicy,
    HttpLoggingPolicy,
    NetworkTraceLoggingPolicy,
    ProxyPolicy,
)

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


class _Once(AsyncHTTPPolicy[Any, Any]):
    """Sends a request once, in the place of the SDK's own policy, which takes long to do that."""

    async def send(self, request: PipelineRequest[Any]) -> PipelineResponse[Any, Any]:
        """Send a request, without what is there for who asks again."""
        for option in ("request_params", "global_endpoint_manager"):
            request.context.options.pop(option, None)
        return await self.next.send(request)


def _asking_once() -> ConnectionPolicy:
    """Let the SDK ask nothing again: who asked knows whether that does no harm, and how long there is.

    A write whose connection broke may have been done: asked once more, it would meet itself.
    """
    policy = ConnectionPolicy()
    policy.ConnectionRetryConfiguration = cast("Any", _Once())
    policy.RetryOptions = type(policy.RetryOptions)(max_retry_attempt_count=0)
    return policy


def open_client(address: str, credential: str | AsyncIdentity) -> CosmosClient:
    """Open a client, which asks nothing again by itself.

    Parameters:
      address: The account's endpoint.
      credential: What signs the requests: a key, or who asks.
    """
    parts = urlsplit(address)
    client = CosmosClient(
        address,
        credential,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        connection_policy=_asking_once(),
        # else aiohttp looks for proxies and for ~/.netrc at each request, in a thread
        transport=_Transport(use_env_settings=False),
        # An emulator speaks of itself by an address that may not be the one it is reached by.
        enable_endpoint_discovery=parts.scheme == "https" and parts.hostname not in _LOOPBACK,
        enable_compact_utf8_item_writes=True,
        user_agent_suffix="lightning",
    )
    _leave_out_policies(client)
    return client


def _leave_out_policies(client: CosmosClient) -> None:
    """Leave out of the SDK's pipeline what does nothing here, and takes a tenth of the time of a request."""
    pipeline = cast("Any", client).client_connection.pipeline_client._pipeline  # noqa: SLF001 -- no option does it
    policies: list[Any] = pipeline._impl_policies  # noqa: SLF001 -- likewise
    needed = [each for each in policies if not isinstance(getattr(each, "_policy", None), _LEFT_OUT)]
    needed[-1].next = policies[-1].next  # the transport
    for policy, behind in pairwise(needed):
        policy.next = behind
    pipeline._impl_policies = needed  # noqa: SLF001 -- likewise
