"""What a model is shown of a conversation, as the budget and what was counted before allow."""

import pytest

from lightning.domain.context import context
from lightning.events import Draft
from lightning.llm.window import TOKENS_PER_MESSAGE
from lightning.log import EventLog
from tests.stores import storage_of


@pytest.fixture
async def log(tmp_path):
    storage = storage_of(tmp_path)
    yield EventLog(storage)
    await storage.close()


async def converse(log, count, *, tokens_per_character):
    """Record exchanges with what a server has counted; every text has 300 characters."""
    prompt = 0
    for number in range(count):
        question, answer = f"q{number:03}" + "x" * 296, f"a{number:03}" + "x" * 296
        each = round(300 * tokens_per_character)
        prompt += each + TOKENS_PER_MESSAGE
        usage = {"prompt_tokens": prompt, "completion_tokens": each, "total_tokens": prompt + each}
        prompt += each + TOKENS_PER_MESSAGE
        said = Draft(f"q{number}", "llm.chat", "t", {"content": question, "conversationID": "c"}, "now", {})
        await log.append("anna", [said])
        reply = {
            "content": answer,
            "conversationID": "c",
            "model": "m",
            "usage": usage,
            "finishReason": "stop",
        }
        claim = await log.claim("anna", said.id, 0, "me", 10)
        output = Draft(f"a{number}", "llm.chat.response", "t", reply, "now", {})
        await log.end(claim, "done", outputs=[output])


async def ask(log, tokens, content="now"):
    said = Draft("last", "llm.chat", "t", {"content": content, "conversationID": "c"}, "now", {})
    (event,) = await log.append("anna", [said])
    return await context(log, event, "c", content, tokens)


@pytest.mark.parametrize(("ratio", "shown"), [(0.2, 31), (1 / 3, 19), (2 / 3, 9)])
async def test_the_budget_is_in_the_tokens_that_the_server_counts(log, ratio, shown):
    # Given a conversation that a server has counted, each text 300 characters
    await converse(log, 30, tokens_per_character=ratio)

    # When its next message is to be answered within 2,000 tokens
    messages = await ask(log, 2_000)

    # Then it is shown as much as has room by that count
    cost = 300 * ratio + TOKENS_PER_MESSAGE
    assert len(messages) - 1 == pytest.approx(2_000 / cost, abs=1)
    assert len(messages) - 1 == pytest.approx(shown, abs=1)

    # And what is shown is the newest, without a gap
    contents = [message.content[:4] for message in messages[:-1]]
    everything = [f"{who}{number:03}" for number in range(30) for who in "qa"]
    assert contents == everything[-len(contents) :]
    assert messages[-1].content == "now"


async def test_it_goes_on_behind_the_first_page(log):
    await converse(log, 40, tokens_per_character=0.25)
    messages = await ask(log, 100_000)
    assert len(messages) == 81
    assert [message.role for message in messages[:3]] == ["user", "assistant", "user"]


async def test_the_message_itself_is_shown_however_long_it_is(log):
    await converse(log, 1, tokens_per_character=0.25)
    messages = await ask(log, 10, content="x" * 10_000)
    assert [message.content for message in messages] == ["x" * 10_000]
