"""How calls are carried out: blocking, or on an event loop. What is done is `lightning.client.calls`."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, closing
from functools import partial
from typing import TypeVar

import httpx2

from lightning.client import frames
from lightning.client.calls import Calls
from lightning.client.errors import ClientError, refused, unreachable, unreadable
from lightning.client.requests import Request
from lightning.client.shapes import Frame
from lightning.client.steps import Ask, Pause, Refresh, Steps
from lightning.tls import trusted

T = TypeVar("T")


class Connection:
    """Carries out the calls of one client; threads may share it.

    Parameters:
      calls: The client's calls.
      timeout_seconds: For each request.

    Raises:
      ClientError: The address is none.
    """

    def __init__(self, calls: Calls, timeout_seconds: float) -> None:
        try:
            self._http = httpx2.Client(base_url=calls.url, verify=trusted())
            _check_host(self._http.base_url)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise unreadable(calls.url) from error
        self._calls = calls
        self._timeout_seconds = timeout_seconds
        self._refreshing = threading.Lock()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def run(self, steps: Steps[T]) -> T:
        """Take the steps of a call, and give its result."""
        proceed = partial(next, steps)
        while True:
            try:
                step = proceed()
            except StopIteration as end:
                return end.value
            try:
                proceed = partial(steps.send, self._do(step))
            except (ClientError, httpx2.HTTPError) as error:
                proceed = partial(steps.throw, error)

    def _do(self, step: Ask | Pause | Refresh) -> httpx2.Response | None:
        match step:
            case Ask(request):
                timeout = httpx2.Timeout(self._timeout_seconds + request.takes_seconds)
                return self._http.send(self._calls.build(self._http, request, timeout))
            case Pause(seconds):
                time.sleep(seconds)
            case Refresh(access):
                self._refresh(access)
        return None

    def _refresh(self, access: str | None) -> None:
        with self._refreshing:
            if self._calls.tokens.access == access:
                self.run(self._calls.renewal.renew())

    def frames(
        self,
        request: Request,
        silence_seconds: float | None,
        read: Callable[[httpx2.ServerSentEvent], T | None],
    ) -> Generator[T]:
        """Give what comes over one connection of a stream.

        Parameters:
          request: What opens it.
          silence_seconds: The connection is dead when nothing comes for so long; None waits for ever.
          read: Reads a frame; None passes it over.
        """
        self.run(self._calls.renewed())
        used = self._calls.tokens.access
        try:
            yield from self._connected(request, silence_seconds, read)
        except ClientError as error:
            if not self._calls.refreshable(error):
                raise
            self._refresh(used)
            yield from self._connected(request, silence_seconds, read)

    def _connected(
        self,
        request: Request,
        silence_seconds: float | None,
        read: Callable[[httpx2.ServerSentEvent], T | None],
    ) -> Generator[T]:
        timeout = httpx2.Timeout(self._timeout_seconds, read=silence_seconds)
        try:
            response = self._http.send(self._calls.build(self._http, request, timeout), stream=True)
            with closing(response):
                if not response.is_success:
                    response.read()
                    raise refused(response)
                for each in httpx2.EventSource(response, max_event_size=frames.MAX_FRAME_BYTES):
                    if frame := read(each):
                        yield frame
        except httpx2.HTTPError as error:
            raise unreachable(self._calls.url, error) from error


class AsyncConnection:
    """Carries out the calls of one client on an event loop; see `Connection`."""

    def __init__(self, calls: Calls, timeout_seconds: float) -> None:
        try:
            self._http = httpx2.AsyncClient(base_url=calls.url, verify=trusted())
            _check_host(self._http.base_url)
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise unreadable(calls.url) from error
        self._calls = calls
        self._timeout_seconds = timeout_seconds
        self._renewal: asyncio.Task[None] | None = None

    async def aclose(self) -> None:
        """Let go of the connections."""
        if self._renewal is not None:
            # else a session is lost that was just renewed, and other programs with it
            await asyncio.wait([self._renewal])
        await self._http.aclose()

    async def run(self, steps: Steps[T]) -> T:
        """Take the steps of a call, and give its result."""
        proceed = partial(next, steps)
        while True:
            try:
                step = proceed()
            except StopIteration as end:
                return end.value
            try:
                proceed = partial(steps.send, await self._do(step))
            except (ClientError, httpx2.HTTPError) as error:
                proceed = partial(steps.throw, error)

    async def _do(self, step: Ask | Pause | Refresh) -> httpx2.Response | None:
        match step:
            case Ask(request):
                timeout = httpx2.Timeout(self._timeout_seconds + request.takes_seconds)
                return await self._http.send(self._calls.build(self._http, request, timeout))
            case Pause(seconds):
                await asyncio.sleep(seconds)
            case Refresh(access):
                await self._refresh(access)
        return None

    async def _refresh(self, access: str | None) -> None:
        if self._calls.tokens.access != access:
            return
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self.run(self._calls.renewal.renew()))
        # whoever is cancelled here must not lose the new refresh token for all: the old one is used up
        await asyncio.shield(self._renewal)

    async def frames(self, request: Request) -> AsyncGenerator[Frame | None]:
        """Give None once the stream is there, then what comes over this one connection."""
        await self.run(self._calls.renewed())
        used = self._calls.tokens.access
        try:
            async with aclosing(self._connected(request)) as arriving:
                async for frame in arriving:
                    yield frame
        except ClientError as error:
            if not self._calls.refreshable(error):
                raise
            await self._refresh(used)
            async with aclosing(self._connected(request)) as arriving:
                async for frame in arriving:
                    yield frame

    async def _connected(self, request: Request) -> AsyncGenerator[Frame | None]:
        timeout = httpx2.Timeout(self._timeout_seconds, read=frames.SILENCE_SECONDS)
        try:
            response = await self._http.send(self._calls.build(self._http, request, timeout), stream=True)
            async with aclosing(response):
                if not response.is_success:
                    await response.aread()
                    raise refused(response)
                yield None
                async for each in httpx2.EventSource(response, max_event_size=frames.MAX_FRAME_BYTES):
                    if frame := frames.read(each):
                        yield frame
        except httpx2.HTTPError as error:
            raise unreachable(self._calls.url, error) from error


def _check_host(url: httpx2.URL) -> None:
    """Encode a host as sockets do: what they raise in the midst of a call would be no error of HTTP.

    Raises:
      UnicodeError: It can be no host.
    """
    url.raw_host.decode().encode("idna")
