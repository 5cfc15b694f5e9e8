"""One connection's answer, as the script wants it: in pieces, late, held or cut."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

from starlette.types import Receive, Scope, Send

from ops.emulators.http_exchange import hang_up


class Disconnected(Exception):  # no error: a client may leave
    """The client is gone, or the server is stopping."""


class Line:
    """Writes an answer, and notices when nobody listens any more.

    What is written is collected until a pause or the end, so that an answer without pauses
    costs one send.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._hang_up = partial(hang_up, scope)
        self._started = False
        self._pending = bytearray()

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the head of the answer."""
        self._started = True
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    def write(self, data: bytes) -> None:
        """Add to the body."""
        self._pending += data

    async def end(self) -> None:
        """Send the rest."""
        await self._send({"type": "http.response.body", "body": bytes(self._pending)})

    async def flush(self) -> None:
        """Send what was written until now."""
        if self._started and self._pending:
            body = bytes(self._pending)
            self._pending.clear()
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def pause(self, seconds: float) -> None:
        """Let the client wait.

        Raises:
          Disconnected: It did not.
        """
        await self.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wait_for_disconnect()

    async def cut(self) -> None:
        """Drop the connection in the middle of the answer."""
        await self.flush()
        self._hang_up()
        with suppress(Disconnected):
            await self.wait_for_disconnect()

    async def wait_for_disconnect(self) -> None:
        """Wait until the connection is gone.

        Raises:
          Disconnected: It is.
        """
        while (await self._receive())["type"] != "http.disconnect":
            pass
        raise Disconnected


class Gate:
    """Holds answers until they are released from outside."""

    def __init__(self) -> None:
        self._held: dict[asyncio.Timeout, None] = {}  # in order of arrival

    @property
    def held(self) -> int:
        """How many answers wait."""
        return len(self._held)

    async def hold(self, line: Line) -> None:
        """Wait for the release.

        Raises:
          Disconnected: The client left first.
        """
        await line.flush()
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as hold:
                self._held[hold] = None
                try:
                    await line.wait_for_disconnect()
                finally:
                    self._held.pop(hold, None)

    def release(self, count: int | None = None, *, keep: int = 0) -> int:
        """Let the longest held answers go on but for the first ``keep``; None: all. Returns how many."""
        released = list(self._held)[keep:][:count]
        for hold in released:
            del self._held[hold]
            hold.reschedule(asyncio.get_running_loop().time())
        return len(released)
