"""As little of a reader of `/api/stream` as a load generator needs: thousands fit into one process."""

import asyncio
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from ops.bench.connection import request

#: A stream that does not begin within this time is a failure of the run.
OPEN_SECONDS = 30.0

_END_OF_HEAD = b"\r\n\r\n"
_END_OF_FRAME = b"\n\n"
_EVENT = b"\nevent: "
_DATA = b"\ndata: "

#: Told of each frame: its name and its data.
OnFrame = Callable[[bytes, bytes], None]


class Stream(asyncio.Protocol):
    """One open stream.

    The ingress writes whole frames, so no border of a chunk (RFC 9112, section 7.1) lies within one.

    Parameters:
      on_frame: Told of each frame that has data.
    """

    def __init__(self, on_frame: OnFrame) -> None:
        self._on_frame = on_frame
        self._received = bytearray()
        self._transport: asyncio.BaseTransport | None = None
        #: Done as soon as the stream is accepted.
        self.begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @classmethod
    async def open(cls, url: str, token: str, on_frame: OnFrame) -> Self:
        """Follow a user's log from its beginning.

        Parameters:
          url: A server of this machine, ``http://HOST:PORT``.
          token: An access token.
          on_frame: Told of each frame that has data.

        Raises:
          OSError: The stream was refused.
          TimeoutError: It did not begin.
        """
        parts = urlsplit(url)
        loop = asyncio.get_running_loop()
        transport, stream = await loop.create_connection(
            lambda: cls(on_frame), parts.hostname or "", parts.port or 80
        )
        transport.write(request("GET", "/api/stream", token))
        try:
            async with asyncio.timeout(OPEN_SECONDS):
                await stream.begun
        except BaseException:
            transport.close()
            raise
        return stream

    @property
    def is_open(self) -> bool:
        """Whether frames may still come."""
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what is to be closed."""
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail a stream that has not begun."""
        if not self.begun.done():
            self.begun.set_exception(exc or ConnectionResetError("the server closed the stream"))

    def data_received(self, data: bytes) -> None:
        """Collect frames."""
        received = self._received
        received += data
        if not self.begun.done():
            end = received.find(_END_OF_HEAD)
            if end < 0:
                return
            if bytes(received[9:12]) != b"200":
                self.begun.set_exception(OSError(f"a stream was refused: {bytes(received[:400])!r}"))
                return
            del received[: end + len(_END_OF_HEAD)]
            self.begun.set_result(None)
        *frames, rest = received.split(_END_OF_FRAME)
        for frame in frames:
            _, _, named = (b"\n" + frame).partition(_EVENT)
            name, _, value = named.partition(_DATA)
            if value:
                self._on_frame(bytes(name), bytes(value))
        self._received = rest

    def close(self) -> None:
        """Disconnect."""
        if self._transport is not None:
            self._transport.close()
