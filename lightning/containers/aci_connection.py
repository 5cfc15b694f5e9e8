"""The connection to Azure Resource Manager that a process works with."""

from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.core.pipeline.transport import AioHttpTransport
from azure.mgmt.containerinstance.aio import ContainerInstanceManagementClient

from lightning.azure_identity import AsyncIdentity, Identity

#: To reach the service, and for an answer of it.
CONNECT_SECONDS: Final = 5
READ_SECONDS: Final = 30

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Emulated:
    """An emulator's endpoint on this machine, with the one token that it takes.

    Parameters:
      endpoint: Its address, on loopback.
      subscription: The id of its subscription.
      token: The bearer token.
      api_url: Where code in its containers finds the run API; None: nowhere but at its public address.
    """

    endpoint: str
    subscription: str
    token: str = field(repr=False)
    api_url: str | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the line that ``lightning emulator arm`` prints.

        Raises:
          ValueError: It is none, or leads off this machine.
        """
        parts = dict(part.split("=", 1) for part in text.strip().split(";") if "=" in part)
        endpoint = parts.get("Endpoint", "")
        missing = [name for name in ("SubscriptionId", "AccessToken") if not parts.get(name)]
        if missing or urlsplit(endpoint).hostname not in _LOOPBACK:
            raise ValueError("it is not the line that `lightning emulator arm` prints")
        return cls(endpoint, parts["SubscriptionId"], parts["AccessToken"], parts.get("RunApiUrl"))


class _NoCredential:
    """Stands where the SDK wants a credential though its policy of authentication has one."""

    async def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        """Give a token that nothing takes."""
        return AccessToken("none", 0)

    async def close(self) -> None:
        """Have nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Have nothing to close."""


class Connection:
    """Opens the client when it is first needed, for the event loop that then runs.

    Parameters:
      subscription: The id of the subscription; an emulator has its own.
      identity: Who asks Azure.
      emulated: An emulator instead of Azure, whose token is not asked of any identity.
    """

    def __init__(self, subscription: str, identity: Identity, emulated: Emulated | None) -> None:
        self._subscription = emulated.subscription if emulated else subscription
        self._identity = identity
        self._emulated = emulated
        self._client: ContainerInstanceManagementClient | None = None
        self._credential: AsyncIdentity | _NoCredential | None = None
        self.address = emulated.endpoint if emulated else "https://management.azure.com"
        self.api_url = emulated.api_url if emulated else None

    @property
    def client(self) -> ContainerInstanceManagementClient:
        """The client, which asks nothing again by itself: who asked knows how long there is."""
        if self._client is None:
            emulated = self._emulated
            options: dict[str, Any] = {}
            if emulated is None:
                credential = AsyncIdentity(self._identity)
            else:
                credential = _NoCredential()
                key = AzureKeyCredential(emulated.token)
                options["authentication_policy"] = AzureKeyCredentialPolicy(
                    key, "Authorization", prefix="Bearer"
                )
            self._credential = credential
            self._client = ContainerInstanceManagementClient(
                credential,
                self._subscription,
                self.address,
                retry_total=0,
                # else aiohttp looks for proxies and for ~/.netrc at each request, in a thread
                transport=AioHttpTransport(
                    connection_timeout=CONNECT_SECONDS, read_timeout=READ_SECONDS, use_env_settings=False
                ),
                user_agent="lightning",
                **options,
            )
        return self._client

    async def close(self) -> None:
        """Let go of the connections."""
        client, self._client = self._client, None
        credential, self._credential = self._credential, None
        if client is not None:
            await client.close()
        if credential is not None:
            await credential.close()
