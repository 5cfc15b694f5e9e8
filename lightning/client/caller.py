"""What the calls of both clients stand on: a request that is sent, and what it is answered with."""

from typing import Any

from lightning.client.requests import Request


class Caller:
    """A client that blocks."""

    def _call(self, request: Request) -> Any:
        raise NotImplementedError


class AsyncCaller:
    """A client for asyncio."""

    async def call(self, request: Request) -> Any:
        """Send a request and get what it is answered with."""
        raise NotImplementedError
