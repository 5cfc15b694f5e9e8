"""One POST to an address that a user chose: resolved once, checked, and connected to as checked.

No proxy, no cookie, no redirect, no reuse of connections; TLS is verified for the name in the URL.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, cast

import httpcore2

from lightning.errors import LightningError
from lightning.outbound.guard import Guard, parse_address
from lightning.outbound.target import Target
from lightning.tls import trusted

#: Of the answer so much is read; then the connection is closed.
MAX_READ_BYTES: Final = 64 * 1024

#: Of the answer so much is kept.
MAX_KEPT_BYTES: Final = 1024

#: One address may take so long to accept a connection before the next one is tried.
CONNECT_SECONDS: Final = 5.0

MAX_ADDRESSES: Final = 8

#: Gives the addresses of a name, as text.
Resolve = Callable[[str, int], Awaitable[list[str]]]


class SendError(LightningError):
    """There is no answer, or none that could be read in time.

    Parameters:
      message: What happened, for the owner of the address.
      code: ``address_refused``, ``name_not_found``, ``connection_failed``, ``tls_failed``,
        ``timeout`` or ``broken_answer``.
      status: The HTTP status, where the answer had begun.
    """

    code = "send_failed"

    def __init__(self, message: str, *, code: str, status: int | None = None) -> None:
        super().__init__(message, code=code)
        self.answered = status


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Parameters:
      status: The HTTP status.
      headers: The headers, names in lower case; of repeated ones the last.
      body: Its first bytes, at most `MAX_KEPT_BYTES`.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes


class SystemResolver:
    """Resolves as the operating system does, on threads of its own: a slow server holds up nobody else.

    Parameters:
      threads: Names resolved at a time.
    """

    def __init__(self, threads: int = 8) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> list[str]:
        """Give the addresses of a name."""
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(str(address[4][0]) for address in found))


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class CheckedBackend(httpcore2.AsyncNetworkBackend):
    """Connects to a host at an address that the guard permits; what is checked is what is used.

    Parameters:
      guard: Says which addresses are good.
      resolve: Gives the addresses of a name; asked once for each connection.
      connections: Opens the connections, to literal addresses only.
    """

    def __init__(self, guard: Guard, resolve: Resolve, connections: httpcore2.AsyncNetworkBackend) -> None:
        self._guard = guard
        self._resolve = resolve
        self._connections = connections

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address that answers.

        Raises:
          SendError: The name has no address, or one that is not permitted, or none accepts.
        """
        del timeout
        last: Exception | None = None
        for address in await self._checked(host, port):
            try:
                return await self._connections.connect_tcp(
                    address, port, CONNECT_SECONDS, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                last = error
        raise SendError("nothing accepts connections there", code="connection_failed") from last

    async def _checked(self, host: str, port: int) -> list[str]:
        return await checked_addresses(self._guard, self._resolve, host, port)


async def checked_addresses(guard: Guard, resolve: Resolve, host: str, port: int) -> list[str]:
    """Give the addresses of a host, at most `MAX_ADDRESSES`. One bad address among them refuses all.

    Raises:
      SendError: The name has no address (``name_not_found``), or one that is not permitted
        (``address_refused``).
    """
    if parse_address(host) is not None:
        addresses = [host]
    else:
        try:
            addresses = await resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise SendError("the name of the host has no address", code="name_not_found") from error
    if not addresses:
        raise SendError("the name of the host has no address", code="name_not_found")
    for text in addresses:
        address = parse_address(text)
        if address is None or not guard.permits(host, address):
            raise SendError("the host has an address that is not public", code="address_refused")
    return addresses[:MAX_ADDRESSES]


class Outbound:
    """Posts to where users say.

    Parameters:
      guard: Says which addresses are good.
      timeout_seconds: For everything: name, connection, request and the whole answer.
      resolve: Gives the addresses of a name.
      connections: Opens connections to addresses.
      tls: What certificates are verified with; by default the authorities that the system trusts.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        timeout_seconds: float = 15.0,
        resolve: Resolve | None = None,
        connections: httpcore2.AsyncNetworkBackend | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.guard = guard
        self.timeout_seconds = timeout_seconds
        self._tls = tls or trusted()
        opening = connections or cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())
        self._backend = CheckedBackend(guard, resolve or SystemResolver(), opening)

    async def post(self, target: Target, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Post a body and read the answer, whatever its status.

        Raises:
          SendError: There is no answer in time.
        """
        heard: list[int] = []
        try:
            async with asyncio.timeout(self.timeout_seconds):
                return await self._exchange(target, body, headers, heard)
        except TimeoutError:
            message = f"no whole answer within {self.timeout_seconds:g} seconds"
            raise SendError(message, code="timeout", status=heard[0] if heard else None) from None
        except httpcore2.ConnectError as error:
            raise SendError(f"TLS cannot be agreed on: {error}", code="tls_failed") from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError, httpcore2.TimeoutException) as error:
            message = "the answer breaks off, or is not HTTP/1.1"
            raise SendError(message, code="broken_answer", status=heard[0] if heard else None) from error

    async def _exchange(
        self, target: Target, body: bytes, headers: Mapping[str, str], heard: list[int]
    ) -> Answer:
        url = httpcore2.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        sent = {"host": target.authority, "accept-encoding": "identity", "connection": "close", **headers}
        pairs = [(name.encode(), value.encode()) for name, value in sent.items()]
        connection = httpcore2.AsyncHTTPConnection(
            url.origin, ssl_context=self._tls, network_backend=self._backend
        )
        async with connection, connection.stream("POST", url, headers=pairs, content=body) as response:
            heard.append(response.status)
            names = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers
            }
            kept, size = b"", 0
            async for chunk in response.aiter_stream():
                kept += chunk[: MAX_KEPT_BYTES - len(kept)]
                size += len(chunk)
                if size >= MAX_READ_BYTES:
                    break
            return Answer(response.status, names, kept)
