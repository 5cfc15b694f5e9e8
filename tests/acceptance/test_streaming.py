"""Answers while they are written, for many users at once, through the whole installation.

One worker process with 64 threads takes 200 answers in rounds. The model pauses in the middle of each answer
and before its end until it is told to go on, and in one of them while four rounds of the others go by: were
threads, or posts to the ingress, held up by one another, somebody would wait for ever for what is written.
How soon the first pieces come is measured by `python -m ops.bench first-token`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import pytest
from websockets.asyncio.client import connect

from lightning.telemetry.spans import Span, SpanStore
from ops.chaos.installation import Installation, ModelServer, until
from ops.crowd import crowd
from ops.emulators.openai.answer import pieces
from tests.stores import settings_of

USERS = 200
THREADS = 64

#: On Service Bus, as long as a lease in a file: nobody dies here, and who is busy renews late.
LOCK_SECONDS = 30.0

PIECES = 21
SCRIPT = [
    {"last_contains": ["with pauses"], "chunks": PIECES, "hold": True, "hold_after": [PIECES // 2, PIECES]},
    {"chunks": PIECES, "delay_ms": 50},
]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def model(tmp_path_factory, queue):
    del queue  # each has a model that holds nothing
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as model:
        yield model


@pytest.fixture(scope="module")
def installation(tmp_path_factory, model, queue):
    environment = {**model.environment(), "LIGHTNING_THREADS": str(THREADS)}
    data = tmp_path_factory.mktemp("streaming") / "data"
    with Installation(data, {**settings_of(data), **environment}, queue=queue) as installation:
        yield installation


@dataclass
class User:
    """Somebody who asks one thing and listens to the answer."""

    name: str
    content: str
    token: str
    deltas: list[dict] = field(default_factory=list)
    response: dict = field(default_factory=dict)
    asked: str = ""
    asks: asyncio.Event = field(default_factory=asyncio.Event)
    text: str = ""

    @property
    def answer(self) -> str:
        return f"You said: {self.content}"

    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}

    def event(self) -> dict:
        return {
            "timestamp": datetime.now(UTC).isoformat(),
            "source": "tests",
            "type": "llm.chat",
            "userID": self.name,
            "metadata": {"content": self.content},
        }


def ask(number: int, how: str) -> str:
    """Make a question unlike those of all others; its answer repeats it."""
    return f"Say {how} for user {number}: {' '.join(f'{number}·{word}' for word in range(60))} 🌩"


async def frames(response: httpx2.Response) -> AsyncIterator[tuple[str, dict]]:
    kind = ""
    async for line in response.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "event":
            kind = value
        elif name == "data":
            yield kind, json.loads(value)


async def converse(client: httpx2.AsyncClient, user: User, ready: asyncio.Barrier) -> None:
    """Open a stream, wait for all the others to have theirs, ask when told, and listen up to the response."""
    async with client.stream("GET", "/api/stream", headers=user.headers()) as stream:
        assert stream.status_code == 200
        await ready.wait()
        await user.asks.wait()
        posted = await client.post("/api/events", json=user.event(), headers=user.headers())
        assert posted.status_code == 202
        user.asked = posted.json()["id"]
        async for kind, data in frames(stream):
            if kind == "delta":
                assert data["offset"] == len(user.text), user.name
                user.deltas.append(data)
                user.text += data["text"]
            elif kind == "llm.chat.response":
                user.response = data
                return


def half(answer: str) -> str:
    """Give what is written of an answer when the model pauses in it."""
    return "".join(pieces(answer, PIECES)[: PIECES // 2])


def seeing(users: list[User], written: Callable[[str], str]) -> int:
    """Count those who see just what is written of their answers."""
    return sum(user.text == written(user.answer) for user in users)


async def reached(condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition, on a thread: the streams are read meanwhile."""
    await asyncio.to_thread(until, condition, what)


async def test_many_users_stream_at_once_on_one_worker(installation, model):
    # Given 200 users, each with a stream of their own
    people = await crowd(installation.settings, USERS)
    users = [User(name, ask(n, "with pauses"), token) for n, (name, token) in enumerate(people)]
    slow, *others = users
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    ready = asyncio.Barrier(USERS + 1)
    async with (
        httpx2.AsyncClient(base_url=installation.url, limits=limits, timeout=60, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        first = group.create_task(converse(client, slow, ready))
        answered = [group.create_task(converse(client, user, ready)) for user in others]
        await ready.wait()
        # When one asks, and while the model pauses in its answer all others ask at once
        slow.asks.set()
        await reached(lambda: model.held() == 1, "the model pauses")
        for user in others:
            user.asks.set()
        # Then answers are written on all threads, and each user sees what is written before there is more
        for begun in range(0, len(others), THREADS - 1):
            beside = min(THREADS - 1, len(others) - begun)
            await reached(lambda held=1 + beside: model.held() == held, "the model pauses in all answers")
            await reached(lambda seen=beside: seeing(others, half) == seen, "the beginnings are seen")
            model.release(keep=1)
            await reached(lambda held=1 + beside: model.held() == held, "the model pauses before all ends")
            await reached(lambda seen=begun + beside: seeing(others, str) == seen, "all of it is seen")
            model.release(keep=1)
        # And all of them have theirs while the first is still being written
        await asyncio.gather(*answered)
        assert slow.text == half(slow.answer)
        assert (model.held(), first.done()) == (1, False)
        model.release()
        await reached(lambda: slow.text == slow.answer, "the rest of it comes")
        await reached(lambda: model.held() == 1, "the model is about to end it")
        model.release()

    # And each got their own answer, piece by piece, nothing lost and nothing of anybody else's
    for user in users:
        assert user.response["metadata"]["content"] == user.answer
        assert {(delta["event"], delta["attempt"]) for delta in user.deltas} == {(user.asked, 1)}
        assert len(user.deltas) > 1, "the answer came in one"


async def test_an_event_over_a_websocket_begins_its_trace(installation):
    # When a person speaks and listens over one WebSocket
    [(name, token)] = await crowd(installation.settings, 1)
    user = User(name, ask(USERS, "something"), token)
    url = f"{installation.url.replace('http', 'ws', 1)}/api/ws"
    async with connect(url, additional_headers=user.headers(), proxy=None) as socket, asyncio.timeout(30):
        await socket.send(json.dumps({"type": "event", "ref": "r", "event": user.event()}))
        seen = [json.loads(await socket.recv())]
        while seen[-1]["type"] != "event" or seen[-1]["event"]["type"] != "llm.chat.response":
            seen.append(json.loads(await socket.recv()))

    # Then the answer came in pieces and whole; on a busy machine, the last pieces may have been too late
    text = "".join(frame["text"] for frame in seen if frame["type"] == "delta")
    assert seen[-1]["event"]["metadata"]["content"] == user.answer
    assert text
    assert user.answer.startswith(text)

    # And everything that was done for it is one trace, from the frame on
    [event_id] = [frame["event"]["id"] for frame in seen if frame["type"] == "accepted"]
    store = SpanStore(installation.data / "spans.db")
    queue = installation.settings.servicebus_queue
    wanted = {"ws event", f"process {queue}", "chat gpt-3.5-turbo", f"process {queue}-messenger"}
    until(lambda: wanted <= {span.name for span in spans(store, event_id)}, "the spans are written")
    found = spans(store, event_id)
    assert len({span.trace_id for span in found}) == 1
    assert [span.name for span in found if span.parent_id is None] == ["ws event"]
    store.close()


def spans(store: SpanStore, event_id: str) -> list[Span]:
    return [span for trace_id in store.traces_of_event(event_id) for span in store.trace(trace_id)]
