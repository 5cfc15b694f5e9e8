"""Workspaces on their way: how many at a time, and how large, so that they take neither memory nor disk."""

import asyncio
import tempfile
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import IO, Final

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.connections import abort
from api.requests import BodyTimeout, UnsupportedMediaType
from lightning.errors import InvalidRequest, Transient
from lightning.strict_json import TooLarge

#: Bytes of a tar: those of the files that it may hold, with their headers.
MAX_TAR_BYTES: Final = 192 * 1024 * 1024

#: A workspace may take so long on its way.
TRANSFER_SECONDS: Final = 300.0

#: Workspaces of one user on their way at a time, in one process; further ones are to come again.
PER_USER: Final = 4

#: Workspaces that are packed or taken apart at a time, in one process; others wait.
AT_WORK: Final = 2

RETRY_SECONDS: Final = 2.0

_CHUNK_BYTES: Final = 256 * 1024

#: What decompresses gzip, and nothing else (zlib's inflateInit2).
_GZIP: Final = 16 + zlib.MAX_WBITS


class TooManyTransfers(Transient):
    """The user has as many workspaces on their way as one may have."""

    code = "too_many_transfers"
    status = 429


class Transfers:
    """The workspaces on their way at one ingress."""

    def __init__(self) -> None:
        self._of_users: Counter[str] = Counter()
        self._at_work = asyncio.Semaphore(AT_WORK)

    @contextmanager
    def place(self, user_id: str) -> Generator[IO[bytes]]:
        """Give a file for a workspace of a user, which nobody else sees, and which is gone afterwards.

        Raises:
          TooManyTransfers: Others of the user's are on their way.
        """
        if self._of_users[user_id] >= PER_USER:
            message = f"{PER_USER} workspaces of yours are on their way; wait for one of them"
            raise TooManyTransfers(message, retry_after=RETRY_SECONDS)
        self._of_users[user_id] += 1
        try:
            with tempfile.TemporaryFile(prefix="lightning-workspace-") as file:
                yield file
        finally:
            self._of_users -= Counter({user_id: 1})

    @asynccontextmanager
    async def work(self) -> AsyncGenerator[None]:
        """Wait until there is room to pack one or take one apart."""
        async with self._at_work:
            yield


async def receive(request: Request, into: IO[bytes]) -> None:
    """Write the body of a request into a file, decompressed where it says that it is compressed.

    Raises:
      TooLarge: It is, compressed or not.
      UnsupportedMediaType: It is encoded otherwise than by gzip.
      InvalidRequest: It is not what gzip writes (``invalid_tar``), or its sender left.
      BodyTimeout: It does not arrive.
    """
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"identity", "gzip"}:
        raise UnsupportedMediaType("send the tar as it is, or with the Content-Encoding gzip")
    arriving = _Arriving(into) if coding == "identity" else _Unpacking(into)
    try:
        async with asyncio.timeout(TRANSFER_SECONDS):
            async for chunk in request.stream():
                await asyncio.to_thread(arriving.take, chunk)
    except TimeoutError:
        raise BodyTimeout(f"the tar did not arrive within {TRANSFER_SECONDS:.0f} seconds") from None
    except ClientDisconnect:
        raise InvalidRequest("the client left") from None
    arriving.end()


class _Arriving:
    """What has arrived of a tar."""

    def __init__(self, into: IO[bytes]) -> None:
        self._into = into
        self._left = MAX_TAR_BYTES

    def take(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise TooLarge(f"the tar is over {MAX_TAR_BYTES} bytes")
        self._into.write(data)

    def end(self) -> None:
        """Check that all of it is there, as far as it tells."""


class _Unpacking(_Arriving):
    """What has arrived of a tar that is compressed."""

    def __init__(self, into: IO[bytes]) -> None:
        super().__init__(into)
        self._gzip = zlib.decompressobj(_GZIP)

    def take(self, data: bytes) -> None:
        while data:
            if self._gzip.eof:
                raise _not_gzip("something comes behind its end")
            try:
                unpacked = self._gzip.decompress(data, _CHUNK_BYTES)
            except zlib.error:
                raise _not_gzip("it is damaged") from None
            super().take(unpacked)
            data = self._gzip.unconsumed_tail or self._gzip.unused_data

    def end(self) -> None:
        if not self._gzip.eof:
            raise _not_gzip("it is cut off")


def _not_gzip(reason: str) -> InvalidRequest:
    return InvalidRequest(f"the body is not what gzip writes: {reason}", code="invalid_tar")


class FileResponse(Response):
    """Gives what is packed into a file, which is gone then.

    Parameters:
      transfers: Where the file comes from.
      user_id: Whose it is.
      pack: Writes what is given.
      headers: Further headers.
      media_type: Its kind.
    """

    def __init__(
        self,
        transfers: Transfers,
        user_id: str,
        pack: Callable[[IO[bytes]], Awaitable[object]],
        *,
        headers: dict[str, str],
        media_type: str,
    ) -> None:
        super().__init__(None, 200, {"cache-control": "no-store", **headers}, media_type=media_type)
        self._transfers = transfers
        self._user_id = user_id
        self._pack = pack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pack, then send (ASGI 3)."""
        with self._transfers.place(self._user_id) as file:
            async with self._transfers.work():
                await self._pack(file)
            self.headers["content-length"] = str(file.tell())
            file.seek(0)
            try:
                async with asyncio.timeout(TRANSFER_SECONDS):
                    await self._send(file, send)
            except TimeoutError:
                abort(scope)()

    async def _send(self, file: IO[bytes], send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
