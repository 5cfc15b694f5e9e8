"""As little of an HTTP/1.1 client as a load generator needs, so that it takes little of the machine."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self, cast
from urllib.parse import urlsplit

import orjson

#: An answer that takes longer is a failure of the run; a read may wait 10 seconds by itself.
ANSWER_SECONDS = 30.0

_END_OF_HEAD = b"\r\n\r\n"
_LENGTH = b"content-length:"


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time.

    Answers carry ``content-length``: the ingress's JSON answers all do.
    """

    def __init__(self) -> None:
        self._received = bytearray()
        self._needed = 0
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect to a server of this machine, ``http://HOST:PORT``."""
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, parts.hostname or "", parts.port or 80)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request under way."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        """Collect an answer."""
        received = self._received
        received += data
        if not self._needed:
            end = received.find(_END_OF_HEAD)
            if end < 0:
                return
            head = bytes(received[:end]).lower()
            at = head.index(_LENGTH) + len(_LENGTH)
            self._needed = end + len(_END_OF_HEAD) + int(head[at:].split(b"\r\n", 1)[0])
        if len(received) < self._needed or self._answer is None or self._answer.done():
            return
        status = int(received[9:12])
        body = bytes(received[received.index(_END_OF_HEAD) + len(_END_OF_HEAD) : self._needed])
        received.clear()
        self._needed = 0
        self._answer.set_result((status, body))

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Send a request.

        Returns:
          Status and body of the answer.

        Raises:
          OSError: The connection was lost.
          TimeoutError: There is no answer.
        """
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        loop = asyncio.get_running_loop()
        answer = self._answer = loop.create_future()
        late = loop.call_later(ANSWER_SECONDS, self._give_up)
        self._transport.write(request)
        try:
            return await answer
        finally:
            late.cancel()

    async def read(self, request: bytes) -> Any:
        """Send a request and read the JSON that answers it.

        Raises:
          OSError: The answer is not 200.
        """
        status, body = await self.ask(request)
        if status != 200:
            raise OSError(f"status {status}: {body[:200]!r}")
        return orjson.loads(body)

    def close(self) -> None:
        """Disconnect."""
        if self._transport is not None:
            self._transport.close()

    def _give_up(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TimeoutError(f"no answer within {ANSWER_SECONDS:.0f} s"))


def request(method: str, path: str, token: str, body: bytes = b"", headers: Sequence[str] = ()) -> bytes:
    """Write a request down."""
    lines = [f"{method} {path} HTTP/1.1", "host: bench", f"authorization: Bearer {token}", *headers]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body
