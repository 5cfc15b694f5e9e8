"""Answers while they are written, for many users at once, through the whole installation.

One worker process with 64 threads takes 200 answers in rounds. One of them takes 6 seconds, the others
about one each, so that four rounds of the others go by beside the slow one: were threads, or posts to the
ingress, held up by one another, the whole would take much longer than the slowest answer.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2
import pytest
from websockets.asyncio.client import connect

from lightning.telemetry.spans import Span, SpanStore
from ops.chaos.installation import Installation, ModelServer, until
from ops.crowd import crowd
from tests.stores import settings_of

USERS = 200
SLOWEST_SECONDS = 6.0

#: On Service Bus, as long as a lease in a file: nobody dies here, and who is busy renews late.
LOCK_SECONDS = 30.0

#: 60 pieces, 100 ms apart, and 20 pieces, 50 ms apart.
SCRIPT = [
    {"last_contains": ["slowly"], "chunks": 61, "delay_ms": 100},
    {"chunks": 21, "delay_ms": 50},
]

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def installation(tmp_path_factory, queue):
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as model:
        environment = {**model.environment(), "LIGHTNING_THREADS": "64"}
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
    """Open a stream, wait for all the others to have theirs, ask, and listen up to the response."""
    async with client.stream("GET", "/api/stream", headers=user.headers()) as stream:
        assert stream.status_code == 200
        await ready.wait()
        posted = await client.post("/api/events", json=user.event(), headers=user.headers())
        assert posted.status_code == 202
        user.asked = posted.json()["id"]
        async for kind, data in frames(stream):
            if kind == "delta":
                user.deltas.append(data)
            elif kind == "llm.chat.response":
                user.response = data
                return


@pytest.mark.alone
async def test_many_users_stream_at_once_on_one_worker(installation):
    # Given 200 users, each with a stream of their own
    people = await crowd(installation.settings, USERS)
    asks = [ask(n, "slowly" if n == 0 else "something") for n in range(USERS)]
    users = [User(name, content, token) for (name, token), content in zip(people, asks, strict=True)]
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    ready = asyncio.Barrier(USERS + 1)
    async with (
        httpx2.AsyncClient(base_url=installation.url, limits=limits, timeout=60, trust_env=False) as client,
        asyncio.TaskGroup() as group,
    ):
        for user in users:
            group.create_task(converse(client, user, ready))
        # When all ask at once
        await ready.wait()
        begun = time.monotonic()
    seconds = time.monotonic() - begun

    # Then each got their own answer, piece by piece, nothing lost and nothing of anybody else's
    for user in users:
        assert user.response["metadata"]["content"] == f"You said: {user.content}"
        assert {(delta["event"], delta["attempt"]) for delta in user.deltas} == {(user.asked, 1)}
        text = ""
        for delta in user.deltas:
            assert delta["offset"] == len(text), user.name
            text += delta["text"]
        assert text == user.response["metadata"]["content"]
        assert len(user.deltas) > 1, "the answer came in one"

    # And together they took hardly longer than the slowest of them
    assert seconds < 2 * SLOWEST_SECONDS


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
    assert seen[-1]["event"]["metadata"]["content"] == f"You said: {user.content}"
    assert text
    assert f"You said: {user.content}".startswith(text)

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
