"""How much later the first piece of an answer comes through the platform than from the model itself."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from statistics import median
from typing import TYPE_CHECKING, Self

import orjson

from ops.bench.connection import Connection
from ops.bench.gauge import Gauge
from ops.bench.plan import Plan, Result, spread, summarise
from ops.bench.posts import CONTENT, BenchError, event_id, post
from ops.bench.stream import Stream

if TYPE_CHECKING:
    from openai import AsyncOpenAI

#: The first piece, and the response, must be there so soon.
PATIENCE_SECONDS = 20.0

#: With several questions in flight, platform and model are asked in turn, so many questions at a time.
BLOCK_PER_ASKER = 5

MODEL = "scripted"

#: Asks a question and gives the seconds until the first piece of its answer.
Ask = Callable[[], Awaitable[float]]


class Asker:
    """A user with an open stream, who asks one question at a time and waits for its end."""

    def __init__(self, connection: Connection, user: str, token: str) -> None:
        self._connection, self._user, self._token = connection, user, token
        self.unstreamed = 0  #: answers that were there before any of their pieces
        self._first: asyncio.Future[tuple[float, str]]
        self._over: asyncio.Future[str]
        self._expect()

    @classmethod
    async def open(cls, url: str, user: str, token: str, stack: AsyncExitStack) -> Self:
        """Connect, for as long as the stack lasts."""
        connection = await Connection.open(url)
        stack.callback(connection.close)
        asker = cls(connection, user, token)
        stream = await Stream.open(url, token, asker.on_frame)
        stack.callback(stream.close)
        return asker

    def _expect(self) -> None:
        loop = asyncio.get_running_loop()
        self._first, self._over = loop.create_future(), loop.create_future()

    def on_frame(self, name: bytes, value: bytes) -> None:
        """Take a frame of the stream."""
        now = time.perf_counter()
        if name == b"delta" and not self._first.done():
            self._first.set_result((now, orjson.loads(value)["event"]))
        elif name == b"llm.chat.response" and not self._over.done():
            self._over.set_result(orjson.loads(value)["cause"])
            if not self._first.done():
                self._first.set_result((now, self._over.result()))
                self.unstreamed += 1

    async def ask(self) -> float:
        """Ask a question.

        Returns:
          Seconds from the post to the first piece of the answer on the stream; to the whole of it when no
          piece came before (they are best effort).

        Raises:
          BenchError: The piece or the answer is not that of the question.
        """
        self._expect()
        question = post("llm.chat", self._user, self._token)
        sent = time.perf_counter()
        event = event_id(*await self._connection.ask(question))
        async with asyncio.timeout(PATIENCE_SECONDS):
            answered = await self._over
        arrived, begun = await self._first
        if not answered == begun == event:
            raise BenchError("the stream brought something else than the answer to the question")
        return arrived - sent


class Direct:
    """Asks the model's server as the platform does, by the provider's SDK.

    Parameters:
      client: The SDK's client.
      question: What is asked.
    """

    def __init__(self, client: "AsyncOpenAI", question: str) -> None:
        self._client = client
        self._question = question

    async def ask(self) -> float:
        """Ask the question; give the seconds until the first piece of the answer."""
        sent, first = time.perf_counter(), 0.0
        chunks = await self._client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": self._question}], stream=True
        )
        async for chunk in chunks:
            if not first and chunk.choices and chunk.choices[0].delta.content:
                first = time.perf_counter() - sent
        if not first:
            raise BenchError("the model said nothing")
        return first


async def first_token(plan: Plan, gauge: Gauge) -> Result:
    """Measure the first pieces of ``plan.events`` answers, one question of each user at a time.

    The users have asked nothing before.
    """
    from openai import AsyncOpenAI  # noqa: PLC0415 -- it takes half a second, which other measurements lack

    async with AsyncExitStack() as stack:
        client = AsyncOpenAI(base_url=plan.model, api_key="bench", max_retries=0)
        stack.push_async_callback(client.close)
        askers = [await Asker.open(plan.url, *user, stack) for user in plan.tokens.items()]
        platform = [asker.ask for asker in askers]
        direct = [Direct(client, CONTENT).ask for _ in askers]
        for asks in (platform, direct):
            await _block(asks, plan.warm_up)
        for asker in askers:
            asker.unstreamed = 0
        block = 1 if len(askers) == 1 else BLOCK_PER_ASKER * len(askers)
        through, alone = list[float](), list[float]()
        seconds, cost = 0.0, Counter[str]()  # of the platform's blocks alone
        deadline = time.perf_counter() + plan.seconds
        while len(through) < plan.events and (began := time.perf_counter()) < deadline:
            before = gauge.read()
            through += await _block(platform, block)
            cost.update(gauge.since(before))
            seconds += time.perf_counter() - began
            alone += await _block(direct, block)
    result = summarise(through, seconds, dict(cost))
    usual = median(alone)
    if unstreamed := sum(asker.unstreamed for asker in askers):
        result.figures["answers without pieces"] = unstreamed
    result.beside["asked directly"] = spread(alone)
    result.beside["added by the platform"] = spread([each - usual for each in through])
    return result


async def _block(asks: Sequence[Ask], questions: int) -> list[float]:
    """Ask so many questions, by each asker one after the other."""
    left = iter(range(questions))

    async def one(ask: Ask) -> list[float]:
        return [await ask() for _ in left]

    return [each for times in await asyncio.gather(*map(one, asks)) for each in times]
