"""`AsyncClient.chat`: pieces as they are written, and the recorded answer whatever happens to the stream."""

import asyncio

import pytest

from lightning.client import AsyncClient, ClientError, Restarted
from ops.chaos.installation import free_port
from tests.fake_platform import Fault, until


@pytest.fixture
async def client(platform):
    async with AsyncClient(platform.url) as client:
        await client.log_in("ada", "right")
        yield client


async def pieces_of(chat) -> list:
    async with asyncio.timeout(20):
        return [piece async for piece in chat]


def says(*actions):
    return lambda _content: list(actions)


async def test_pieces_come_while_the_answer_is_written(platform, client):
    # Given a model that stops in the middle of its answer
    platform.script = says(
        ("delta", 1, 0, "Hello, "), ("hold",), ("delta", 1, 7, "Ada"), ("answer", "Hello, Ada")
    )
    # When somebody chats
    async with client.chat("I am Ada", conversation="c", when_busy="reject") as chat:
        # Then the first piece is there before the answer is
        assert await anext(chat) == "Hello, "
        with pytest.raises(RuntimeError):
            _ = chat.answer
        platform.released.set()
        # And the rest follows, and the answer with what belongs to it
        assert "".join(await pieces_of(chat)) == "Ada"
    assert (chat.answer.content, chat.answer.conversation) == ("Hello, Ada", "c")
    assert (chat.answer.model, chat.answer.usage["total_tokens"]) == ("scripted", 2)
    assert chat.answer.event["id"] == chat.event["id"]
    assert platform.bodies[-1]["metadata"] == {
        "content": "I am Ada", "conversationID": "c", "whenBusy": "reject",
    }  # fmt: skip


async def test_nothing_is_missed_between_the_question_and_the_stream(platform, client):
    # Given a model that answers at once, and a stream that takes its time
    platform.script = says(("delta", 1, 0, "quick"), ("hold",), ("answer", "quick"))
    chat = client.chat("go")
    # Then the stream was open before the question was asked
    assert await anext(chat) == "quick"
    asked = platform.requests.index(("POST", "/api/events"))
    assert platform.requests.index(("GET", "/api/stream")) < asked
    await chat.aclose()


async def test_a_cut_stream_is_opened_again(platform, client):
    platform.script = says(
        ("delta", 1, 0, "one "), ("hold",), ("cut",), ("streams", 2), ("delta", 1, 4, "two "),
        ("delta", 1, 8, "three"), ("answer", "one two three"),
    )  # fmt: skip
    chat = client.chat("count")
    assert await anext(chat) == "one "
    platform.released.set()
    assert await pieces_of(chat) == ["two ", "three"]


async def test_lost_deltas_are_made_up_for_by_the_recorded_answer(platform, client):
    platform.script = says(("delta", 1, 0, "one "), ("delta", 1, 8, "three"), ("answer", "one two three"))
    assert "".join(await pieces_of(client.chat("count"))) == "one two three"


async def test_a_later_attempt_begins_anew(platform, client):
    platform.script = says(
        ("delta", 1, 0, "wro"), ("hold",), ("delta", 2, 0, "ri"), ("delta", 2, 2, "ght"), ("answer", "right")
    )
    chat = client.chat("go")
    assert await anext(chat) == "wro"
    platform.released.set()
    mark, *rest = await pieces_of(chat)
    assert isinstance(mark, Restarted)
    assert "".join(rest) == "right"


async def test_a_platform_without_streams_answers_in_one_piece(platform, client):
    platform.faults.append(Fault("GET", "/api/stream", 403, "forbidden", times=100))
    assert await pieces_of(client.chat("hello")) == ["You said: hello"]


async def test_an_answer_that_is_an_error_is_raised(platform, client):
    platform.script = says(("delta", 1, 0, "Well"), ("error", "model_refused", "not that model"))
    with pytest.raises(ClientError, match="not that model") as raised:
        await pieces_of(client.chat("go"))
    assert raised.value.code == "model_refused"


async def test_a_busy_conversation_is_an_error(platform, client):
    platform.faults.append(Fault("POST", "/api/events", 409, "conversation_busy"))
    with pytest.raises(ClientError) as raised:
        await pieces_of(client.chat("go", conversation="c", when_busy="reject"))
    assert raised.value.code == "conversation_busy"


async def test_an_answer_can_be_cancelled(platform, client):
    # Given an answer that is being written
    platform.script = says(("delta", 1, 0, "On and "), ("hold",), ("answer", "On and on"))
    chat = client.chat("go on")
    assert await anext(chat) == "On and "
    # When it is cancelled
    cancelled = await chat.cancel()
    # Then it is so on the platform, and who iterates is told
    assert cancelled["state"] == platform.events[0]["state"] == "cancelled"
    with pytest.raises(ClientError) as raised:
        await pieces_of(chat)
    assert raised.value.code == "cancelled"
    # And once more it is over already
    with pytest.raises(ClientError) as raised:
        await chat.cancel()
    assert raised.value.code == "already_over"


async def test_a_cancel_that_comes_too_late_leaves_the_answer(platform, client):
    chat = client.chat("hello")
    said = await anext(chat)
    with pytest.raises(ClientError, match="already_over"):
        await chat.cancel()
    assert said + "".join(await pieces_of(chat)) == "You said: hello"


async def test_a_chat_that_was_not_begun_has_nothing_to_cancel(platform, client):
    assert await client.chat("hello").cancel() is None
    assert platform.bodies == []


async def test_to_stop_listening_cancels_nothing_and_leaves_nothing_running(platform, client):
    platform.script = says(("delta", 1, 0, "On and "), ("hold",), ("answer", "On and on"))
    before = asyncio.all_tasks()
    async with client.chat("go on") as chat:
        assert await anext(chat) == "On and "
    assert asyncio.all_tasks() == before
    platform.released.set()
    await until(lambda: platform.events[0]["state"] != "accepted")
    assert platform.events[0]["state"] == "done"


async def test_a_chat_whose_task_is_cancelled_leaves_nothing_running(platform, client):
    platform.script = says(("hold",))
    before = asyncio.all_tasks()
    task = asyncio.create_task(pieces_of(client.chat("go on")))
    await until(lambda: bool(platform.events))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: asyncio.all_tasks() == before, 5)
    assert asyncio.all_tasks() == before


async def test_a_platform_that_is_away_is_said_so():
    async with AsyncClient(f"http://127.0.0.1:{free_port()}", token="t", retry_seconds=0.3) as client:
        with pytest.raises(ClientError, match=r"lightning up"):
            await pieces_of(client.chat("hello"))


async def test_an_answer_that_does_not_come_is_given_up(platform, client):
    platform.script = says(("hold",))
    with pytest.raises(ClientError, match="not over"):
        await pieces_of(client.chat("go on", timeout_seconds=0.5))


async def test_a_renewal_outlives_the_one_who_asked_for_it(platform, client):
    # Given a renewal under way, and a slow platform
    platform.access.clear()
    platform.delays["/api/token/refresh"] = 0.3
    first = asyncio.create_task(client.events(after=0, limit=1))
    await until(lambda: platform.count("POST", "/api/token/refresh") == 1)
    # When who asked for it is cancelled
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    # Then the refresh token that it used up is not lost for the others
    assert (await client.events(after=0, limit=1))["events"] == []
    assert platform.count("POST", "/api/token/refresh") == 1
