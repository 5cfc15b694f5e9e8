"""What every language model does, whichever provider is behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from azure.core.credentials import AccessToken

from lightning.llm import (
    ChatMessage,
    Completion,
    LanguageModel,
    Options,
    TextDelta,
    ToolCall,
    ToolSpec,
    Usage,
    open_model,
)
from ops.emulators.openai import ScriptedModel, serve

TOOL = ToolSpec("look_up", "Looks a word up.", {"type": "object", "properties": {"word": {"type": "string"}}})


@pytest.fixture(scope="module")
def base_url():
    with serve(ScriptedModel(key="any")) as base_url:
        yield base_url


class AnyIdentity:
    """An identity that is nobody's."""

    def get_token(self, *scopes: str, **_options) -> AccessToken:
        assert scopes == ("https://cognitiveservices.azure.com/.default",)
        return AccessToken("any", int(time.time()) + 3600)


#: Each provider, with what it needs beside a model.
MODELS = {
    "echo": {"provider": "echo"},
    "openai": {"provider": "openai", "api_key": "any"},
    "azure-openai": {"provider": "azure-openai", "api_key": "any"},
    "azure-openai, dated": {
        "provider": "azure-openai",
        "api_key": "any",
        "api_version": "2024-10-21",
    },
    "azure-openai, identity": {"provider": "azure-openai", "credential": AnyIdentity()},
    "azure-openai, dated, identity": {
        "provider": "azure-openai",
        "credential": AnyIdentity(),
        "api_version": "2024-10-21",
    },
}


@pytest.fixture(params=MODELS)
async def model(request, base_url) -> AsyncIterator[LanguageModel]:
    options = MODELS[request.param]
    endpoint = base_url.removesuffix("/v1") if options["provider"] == "azure-openai" else base_url
    model = open_model(model="scripted", base_url=endpoint, timeout_seconds=10, **options)
    yield model
    await model.close()


async def answer(model: LanguageModel, *messages: ChatMessage, **options) -> list[TextDelta | Completion]:
    return [piece async for piece in model.stream(messages, **options)]


def said(text: str) -> ChatMessage:
    return ChatMessage("user", text)


@pytest.mark.parametrize(
    "text", ["hello there", "one", "  two  spaces\n\nand lines ", "Grüße, 世界 🌍", "data: [DONE]\n\nx"]
)
async def test_deltas_join_to_the_one_completion_that_comes_last(model, text):
    # Given a model, when it is asked
    *deltas, completion = await answer(model, said(text))

    # Then it answers in pieces, and last with the whole
    assert len(deltas) > 1
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert isinstance(completion, Completion)
    assert "".join(delta.text for delta in deltas) == completion.content
    assert completion.content.endswith(text)


async def test_a_completion_names_model_usage_and_finish_reason(model):
    # When a model is asked
    *_, completion = await answer(model, said("three little words"))

    # Then it says who answered, at what cost and why it stopped
    assert completion.model == model.model
    assert completion.usage == Usage(
        prompt_tokens=3,
        completion_tokens=len(completion.content.split()),
        total_tokens=3 + len(completion.content.split()),
    )
    assert completion.finish_reason == "stop"
    assert completion.tool_calls == ()


async def test_the_whole_conversation_is_shown(model):
    # Given a conversation with every kind of message
    call = ToolCall("call_1", "look_up", '{"word": "moon"}')
    conversation = [
        ChatMessage("system", "be brief"),
        said("first question"),
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "a satellite", tool_call_id="call_1"),
        ChatMessage("assistant", "it circles"),
        said("last question"),
    ]

    # When the model is asked, with a tool at hand
    *_, completion = await answer(model, *conversation, tools=[TOOL])

    # Then it answers the last question, and has counted them all
    assert completion.content.endswith("last question")
    assert completion.usage.prompt_tokens == 10


async def test_a_consumer_may_stop_in_the_middle(model):
    # Given a stream that has begun
    async with aclosing(model.stream([said("a b c d")])) as pieces:
        first = await anext(pieces)

    # When its consumer leaves, then the stream has ended and the model answers the next one
    assert isinstance(first, TextDelta)
    with pytest.raises(StopAsyncIteration):
        await anext(pieces)
    assert isinstance((await answer(model, said("again")))[-1], Completion)


async def test_a_cancelled_task_ends_its_stream(model):
    # Given a task in the middle of a stream
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(model.stream([said("a b c d")])) as pieces:
            async for _ in pieces:
                begun.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(consume())
    await begun.wait()

    # When it is cancelled
    task.cancel()

    # Then the cancellation comes through, and the model answers the next one
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance((await answer(model, said("again")))[-1], Completion)


async def test_many_streams_at_once_do_not_mix(model):
    # When fifty questions are asked at once
    answers = await asyncio.gather(*(answer(model, said(f"question {n}")) for n in range(50)))

    # Then each gets its own answer
    for n, pieces in enumerate(answers):
        assert pieces[-1].content.endswith(f"question {n}")


async def test_an_echo_ends_where_it_is_told_to():
    echo = open_model(provider="echo")
    *_, last = await answer(echo, said("one two three"), options=Options(max_tokens=2))
    assert (len(last.content.split()), last.finish_reason) == (2, "length")
