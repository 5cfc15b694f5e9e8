"""`AsyncClient.chat` with a platform that loses and cuts what the real one does not at a test's word."""

import asyncio

import pytest

from lightning.client import AsyncClient, SessionFile
from tests.fake_platform import Fault, until
from tests.lightning.client.test_chat import pieces_of


@pytest.fixture
async def client(platform):
    async with AsyncClient(platform.url) as client:
        await client.log_in("ada", "right")
        yield client


def says(*actions):
    return lambda _content: list(actions)


async def test_nothing_is_missed_between_the_question_and_the_stream(platform, client):
    # Given a model that answers at once
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


async def test_a_platform_without_streams_answers_in_one_piece(platform, client):
    platform.faults.append(Fault("GET", "/api/stream", 403, "forbidden", times=100))
    assert await pieces_of(client.chat("hello")) == ["You said: hello"]


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


async def test_a_renewal_outlives_the_client_that_is_closed_meanwhile(platform, tmp_path):
    # Given a session that is kept, and a renewal of it under way
    session = SessionFile(tmp_path / "ada.json")
    client = AsyncClient(platform.url, session=session)
    await client.log_in("ada", "right")
    platform.access.clear()
    platform.delays["/api/token/refresh"] = 0.3
    asking = asyncio.create_task(client.events(after=0, limit=1))
    await until(lambda: platform.count("POST", "/api/token/refresh") == 1)
    # When the client is closed
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await client.aclose()
    # Then the refresh token that it used up is not the one that is kept
    assert session.read().refresh_token == platform.refresh
