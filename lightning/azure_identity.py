"""As whom the services of Azure are asked where there is no key: the one way for all of them.

On Azure that is the managed identity of the processes. An operator's laptop has none: there it is who is
logged in by ``az login``. Nothing is looked for: the setting ``LIGHTNING_IDENTITY`` says which.
"""

from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from azure.core.credentials import AccessToken

from lightning.daemon_thread import in_daemon_thread

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential

Kind = Literal["managed", "az"]

#: For ``az`` to give a token, which takes it a second.
AZ_SECONDS = 20


class Identity:
    """A ``TokenCredential`` of azure-core, whose SDK is loaded when a token is first wanted.

    Parameters:
      kind: ``managed``: the identity that Azure gives the process; ``az``: who is logged in by ``az login``.
      client_id: Which user-assigned identity; None is the system-assigned one.
    """

    def __init__(self, kind: Kind, client_id: str | None = None) -> None:
        self._kind = kind
        self._client_id = client_id
        self._credential: TokenCredential | None = None

    def __str__(self) -> str:
        if self._kind == "az":
            return "who is logged in by az"
        return f"the managed identity {self._client_id or 'of the system'}"

    def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Give a token for a service; it may take seconds.

        Raises:
          ClientAuthenticationError: There is no such identity here, or nobody is logged in.
        """
        if self._credential is None:
            self._credential = self._opened()
        return self._credential.get_token(*scopes)

    def _opened(self) -> "TokenCredential":
        from azure.identity import (  # noqa: PLC0415 -- only where there is no key
            AzureCliCredential,
            ManagedIdentityCredential,
        )

        if self._kind == "az":
            return AzureCliCredential(process_timeout=AZ_SECONDS)
        return ManagedIdentityCredential(client_id=self._client_id)


class AsyncIdentity:
    """An ``AsyncTokenCredential`` of azure-core, which asks an identity in a thread.

    Parameters:
      identity: A ``TokenCredential``.
    """

    def __init__(self, identity: "TokenCredential") -> None:
        self.identity = identity

    async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Give a token; see `Identity.get_token`."""
        return await in_daemon_thread(lambda: self.identity.get_token(*scopes))

    async def close(self) -> None:
        """Have nothing to close: the identity is the process's."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Have nothing to close."""


@cache
def own_identity(kind: Kind, client_id: str | None) -> Identity:
    """Give the identity of this process: one for all services, which keeps its tokens."""
    return Identity(kind, client_id)
