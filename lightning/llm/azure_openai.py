"""Azure OpenAI: the same chat completions at an endpoint of one's own, with a key or an identity.

https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle: the ``v1`` API needs no version;
before it, each version is a date. A model's name is that of its deployment.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, cast

import httpx2
from openai import AsyncAzureOpenAI, AsyncOpenAI

from lightning.errors import Transient
from lightning.llm.openai import OpenAIModel, http_client, timeouts, usable_address, usable_key
from lightning.llm.openai_errors import Credentials, FailureReader

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

#: The value of ``gen_ai.provider.name`` (OpenTelemetry's conventions).
PROVIDER: Final = "azure.ai.openai"

#: What an identity asks a token for.
SCOPE: Final = "https://cognitiveservices.azure.com/.default"

#: The API without dated versions.
V1: Final = "v1"

Token = Callable[[], Awaitable[str]]


def open_azure(
    *,
    endpoint: str,
    api_version: str,
    model: str,
    timeout_seconds: float,
    api_key: str | None = None,
    credential: object | None = None,
) -> OpenAIModel:
    """Open a deployment of Azure OpenAI.

    Parameters:
      endpoint: The resource, such as ``https://name.openai.azure.com``.
      api_version: ``v1``, or the date of an older version.
      model: The deployment that is asked when a call names none.
      timeout_seconds: The longest silence.
      api_key: The resource's key.
      credential: Without a key: who asks, a ``TokenCredential`` of azure-core.

    Raises:
      Permanent: ``model_not_configured``: the key or the address is unusable.
    """
    address = _resource(usable_address(endpoint))
    if api_key:
        key = usable_key(api_key)
        credentials, client = Credentials([key]), _with_key(address, api_version, key, timeout_seconds)
    else:
        credentials = Credentials([], name="the identity", check="its role on the resource, AZURE_CLIENT_ID")
        token = _token_of(cast("TokenCredential", credential), credentials)
        client = _with_token(address, api_version, token, timeout_seconds)
    failures = FailureReader(credentials=credentials, base_url=address, timeout_seconds=timeout_seconds)
    return OpenAIModel(client, model=model, failures=failures, provider=PROVIDER)


def _resource(address: str) -> str:
    """Give the resource's own address, whichever of its paths was copied from the portal."""
    path = address.rstrip("/")
    for suffix in ("/v1", "/openai"):
        path = path.removesuffix(suffix)
    return path


def _with_key(address: str, api_version: str, key: str, timeout_seconds: float) -> AsyncOpenAI:
    if api_version == V1:
        return _v1(address, key, timeout_seconds)
    return AsyncAzureOpenAI(
        azure_endpoint=address,
        api_version=api_version,
        api_key=key,
        timeout=timeouts(timeout_seconds),
        max_retries=0,
        http_client=http_client(timeouts(timeout_seconds)),
    )


def _with_token(address: str, api_version: str, token: Token, timeout_seconds: float) -> AsyncOpenAI:
    if api_version == V1:
        return _v1(address, token, timeout_seconds)
    return AsyncAzureOpenAI(
        azure_endpoint=address,
        api_version=api_version,
        azure_ad_token_provider=token,
        timeout=timeouts(timeout_seconds),
        max_retries=0,
        http_client=http_client(timeouts(timeout_seconds)),
    )


def _v1(address: str, key: str | Token, timeout_seconds: float) -> AsyncOpenAI:
    timeout: httpx2.Timeout = timeouts(timeout_seconds)
    return AsyncOpenAI(
        api_key=key,
        base_url=f"{address}/openai/v1/",
        timeout=timeout,
        max_retries=0,
        http_client=http_client(timeout),
    )


def _token_of(credential: "TokenCredential", credentials: Credentials) -> Token:
    """Make what gives a fresh token; the SDK keeps one until it is about to run out."""
    from azure.core.exceptions import AzureError  # noqa: PLC0415 -- only where there is no key
    from azure.identity import get_bearer_token_provider  # noqa: PLC0415

    provide = get_bearer_token_provider(credential, SCOPE)

    async def token() -> str:
        failure: str | None = None
        try:
            # in a thread: the asynchronous twin needs another HTTP library than the rest of us
            fresh = await asyncio.to_thread(provide)
        except AzureError as error:
            failure, fresh = error.message.partition("\n")[0][:300], ""
        if failure is not None:
            raise Transient(
                f"The identity gives no token for the language model: {failure}",
                code="model_identity_unavailable",
            )
        credentials.secrets[:] = [fresh]
        return fresh

    return token
