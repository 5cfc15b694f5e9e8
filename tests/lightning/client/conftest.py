"""A client of each kind, and a platform that misbehaves."""

import asyncio
import threading
from typing import Any

import pytest

from lightning.client import AsyncClient, Client
from tests.fake_platform import stage


@pytest.fixture(scope="module")
def a_stage():
    with stage() as made:
        yield made


@pytest.fixture
def platform(a_stage):
    """A platform that does what a test says."""
    with a_stage.play() as playing:
        yield playing


class Blocking:
    """The asynchronous client behind a blocking face, so that one suite serves both.

    It owns an event loop in a thread; asynchronous iterators are pulled through it.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = self._do(self._made(url, options))

    async def _made(self, url: str, options: dict[str, Any]) -> AsyncClient:
        return AsyncClient(url, **options)

    def _do(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def __getattr__(self, name: str):
        found = getattr(self._client, name)
        if not callable(found) or name == "headers":
            return found
        if name == "tail":
            return self._tail
        return lambda *arguments, **options: self._do(found(*arguments, **options))

    def _tail(self, after: int = 0):
        arriving = self._client.tail(after)
        try:
            while True:
                yield self._do(anext(arriving))
        finally:
            self._do(arriving.aclose())

    def close(self) -> None:
        self._do(self._client.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@pytest.fixture(params=[Client, Blocking], ids=["blocking", "asyncio"])
def connect(request):
    """Give a function that makes clients, which are closed in the end."""
    made = []

    def connected(url: str, **options: Any):
        client = request.param(url, **options)
        made.append(client)
        return client

    yield connected
    for client in made:
        client.close()
