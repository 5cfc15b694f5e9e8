"""`AsyncClient.chat` beside a real platform: pieces as they are written, and what becomes of an answer."""

import asyncio

import pytest

from lightning.client import AsyncClient, ClientError, Restarted
from ops.chaos.installation import Installation, ModelServer
from ops.ports import free_port

pytestmark = pytest.mark.timeout(60)

SCRIPT = [
    # given the first quarter of its answer, the model stops until it is told to go on
    {"last_contains": ["slowly"], "hold": True, "reply": "On and on and on"},
    {"last_contains": ["anew"], "cut_after": 2, "reply": "wrong answer", "times": 1},
    {"last_contains": ["anew"], "reply": "right"},
    {"last_contains": ["refuse"], "status": 400, "error": "not that model"},
]
SAID = "On and on and on"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as model:
        yield model


@pytest.fixture(scope="module")
def access(tmp_path_factory, model):
    """Address and access token."""
    environment = {**model.environment(), "LIGHTNING_RETRY_SECONDS": "0.1"}
    data = tmp_path_factory.mktemp("installation") / "data"
    with Installation(data, environment) as running, running.user("ada") as client:
        yield running.url, client.headers()["authorization"].removeprefix("Bearer ")


@pytest.fixture
async def client(access, model):
    url, token = access
    async with AsyncClient(url, token=token) as client:
        yield client
    await until(lambda: let_go(model))


def let_go(model) -> bool:
    model.release()
    return model.held() == 0


async def until(condition) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 -- what is waited for is in other processes
            await asyncio.sleep(0.02)


async def pieces_of(chat) -> list:
    async with asyncio.timeout(20):
        return [piece async for piece in chat]


async def test_pieces_come_while_the_answer_is_written(client, model):
    # Given a model that stops in the middle of its answer
    async with client.chat("slowly", conversation="c", when_busy="reject") as chat:
        # Then the first piece is there before the answer is
        first = await anext(chat)
        assert SAID.startswith(first)
        assert first != SAID
        with pytest.raises(RuntimeError):
            _ = chat.answer
        # And a conversation that waits for it takes nothing else that does not want to wait
        with pytest.raises(ClientError) as raised:
            await pieces_of(client.chat("hello", conversation="c", when_busy="reject"))
        assert raised.value.code == "conversation_busy"
        # And the rest follows, and the answer with what belongs to it
        await until(lambda: model.held() == 1)
        model.release()
        assert first + "".join(await pieces_of(chat)) == SAID
    assert (chat.answer.content, chat.answer.conversation) == (SAID, "c")
    assert chat.answer.model == "gpt-3.5-turbo"
    assert chat.answer.usage["total_tokens"] > 0
    assert chat.answer.event["id"] == chat.event["id"]


async def test_a_later_attempt_begins_anew(client):
    pieces = await pieces_of(client.chat("anew"))
    [mark] = [place for place, piece in enumerate(pieces) if isinstance(piece, Restarted)]
    assert "wrong answer".startswith("".join(pieces[:mark]))
    assert "".join(pieces[mark + 1 :]) == "right"


async def test_an_answer_that_is_an_error_is_raised(client):
    with pytest.raises(ClientError, match="not that model") as raised:
        await pieces_of(client.chat("refuse"))
    assert raised.value.code == "model_refused"


async def test_an_answer_can_be_cancelled(client, model):
    # Given an answer that is being written
    chat = client.chat("slowly")
    assert SAID.startswith(await anext(chat))
    await until(lambda: model.held() == 1)
    # When it is cancelled
    cancelled = await chat.cancel()
    # Then it is so on the platform, the model is hung up on, and who iterates is told
    assert cancelled["state"] == "cancelled"
    assert (await client.event(cancelled["id"]))["state"] == "cancelled"
    await until(lambda: model.held() == 0)
    with pytest.raises(ClientError) as raised:
        await pieces_of(chat)
    assert raised.value.code == "cancelled"
    # And once more is the same
    assert (await chat.cancel())["state"] == "cancelled"


async def test_a_cancel_that_comes_too_late_leaves_the_answer(client):
    chat = client.chat("hello")
    said = await anext(chat)
    await client.wait(chat.event)
    response = (await client.event(chat.event["id"]))["outputs"][0]
    await client.wait(await client.event(response["id"]))
    with pytest.raises(ClientError) as raised:
        await chat.cancel()
    assert raised.value.code == "already_over"
    assert said + "".join(await pieces_of(chat)) == "You said: hello"


async def test_a_chat_that_was_not_begun_has_nothing_to_cancel(client, model):
    asked = model.calls()
    assert await client.chat("hello").cancel() is None
    assert model.calls() == asked


async def test_to_stop_listening_cancels_nothing_and_leaves_nothing_running(client, model):
    before = asyncio.all_tasks()
    async with client.chat("slowly") as chat:
        assert SAID.startswith(await anext(chat))
    assert asyncio.all_tasks() == before
    await until(lambda: model.held() == 1)
    model.release()
    assert (await client.wait(chat.event))["state"] == "done"


async def test_a_chat_whose_task_is_cancelled_leaves_nothing_running(client, model):
    before = asyncio.all_tasks()
    task = asyncio.create_task(pieces_of(client.chat("slowly")))
    await until(lambda: model.held() == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: asyncio.all_tasks() == before)


async def test_an_answer_that_does_not_come_is_given_up(client):
    with pytest.raises(ClientError, match="not over"):
        await pieces_of(client.chat("slowly", timeout_seconds=0.5))


async def test_a_platform_that_is_away_is_said_so():
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", token="t", retry_seconds=0.3) as client:
        with pytest.raises(ClientError, match=r"lightning up"):
            await pieces_of(client.chat("hello"))
