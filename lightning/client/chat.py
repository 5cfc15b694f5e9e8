"""An answer that is read while it is written."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from lightning.client.answering import Answering, Piece, answer_of
from lightning.client.errors import ClientError
from lightning.client.requests import Request
from lightning.client.shapes import Answer, Delta, Event, EventWithOutputs

if TYPE_CHECKING:
    from lightning.client.aio import AsyncClient


class Chat:
    """Iterates over the pieces of one answer; `AsyncClient.chat` makes it.

    The pieces after the last `Restarted` make up the recorded answer exactly,
    whatever happens to the stream: the end comes from the log. An answer that
    is none raises `ClientError` with the code of its error, or ``cancelled``.
    To stop iterating, or `aclose`, cancels nothing on the platform; `cancel` does.

    Parameters:
      client: Who speaks.
      metadata: Of the `llm.chat`.
      source: A name for people.
      timeout_seconds: Give up after so long without the whole answer.
    """

    def __init__(
        self, client: "AsyncClient", metadata: Mapping[str, str], *, source: str, timeout_seconds: float
    ) -> None:
        self._client = client
        self._metadata = metadata
        self._source = source
        self._timeout_seconds = timeout_seconds
        self._request: Request | None = None
        self._answer: Answer | None = None
        self._pieces = self._iterate()
        self.event: Event | None = None

    @property
    def answer(self) -> Answer:
        """The recorded answer, once all pieces were iterated.

        Raises:
          RuntimeError: They were not.
        """
        if self._answer is None:
            raise RuntimeError("the answer is complete when all its pieces were iterated")
        return self._answer

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        return await anext(self._pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop listening; the platform goes on."""
        await self._pieces.aclose()

    async def cancel(self) -> Event | None:
        """Cancel the answer on the platform; who iterates meanwhile sees the error ``cancelled``.

        Returns:
          The cancelled `llm.chat`; None if it was not even said.

        Raises:
          ClientError: It is over already (code ``already_over``): iterate on, and see the answer.
        """
        if self._request is None:
            return None
        # it may be under way: sent once more, it is the same event
        event = await self._post(self._request)
        return await self._client.cancel(event["id"])

    async def _post(self, request: Request) -> Event:
        event: Event = self.event or await self._client.call(request)
        self.event = event
        return event

    async def _iterate(self) -> AsyncGenerator[Piece]:
        # None says: something else has changed
        news: asyncio.Queue[Delta | None] = asyncio.Queue()
        # who listens before it speaks misses nothing
        listening = asyncio.create_task(self._listen(news))
        waiting: asyncio.Task[EventWithOutputs] | None = None
        try:
            await news.get()
            self._request = await self._client.prepare("llm.chat", self._metadata, source=self._source)
            event = await self._post(self._request)
            waiting = asyncio.create_task(self._client.wait(event, timeout_seconds=self._timeout_seconds))
            waiting.add_done_callback(lambda _: news.put_nowait(None))
            answering = Answering(event["id"])
            while not waiting.done() or not news.empty():
                if delta := await news.get():
                    for piece in answering.delta(delta):
                        yield piece
            self._answer = answer_of(waiting.result())
            for piece in answering.finish(self._answer.content):
                yield piece
        finally:
            await _stop(listening)
            await _stop(waiting)

    async def _listen(self, news: asyncio.Queue[Delta | None]) -> None:
        """Pass deltas on; they are worth having, but the answer comes without them too."""
        try:
            async with aclosing(self._client.deltas()) as deltas:
                async for delta in deltas:
                    news.put_nowait(delta)
        finally:
            news.put_nowait(None)


async def _stop(task: asyncio.Task[Any] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClientError):
            await task
