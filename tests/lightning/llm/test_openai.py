"""The OpenAI adapter against a server on a real socket: what is sent, what is read, what errors mean."""

import asyncio
import base64
import socket
import subprocess
import sys
import time
import traceback
from contextlib import aclosing
from email.utils import formatdate

import httpx2
import orjson
import pytest

from lightning.errors import LightningError, Permanent, Transient
from lightning.llm import ChatMessage, Completion, TextDelta, ToolCall, ToolSpec, open_model
from ops.emulators.openai import ScriptedModel, serve

KEY = "sk-canary-0123456789abcdef"
QUESTION = [ChatMessage("user", "what is the moon?")]


class Server:
    """The scripted server, as a test speaks to it."""

    def __init__(self, base_url: str, control: httpx2.Client) -> None:
        self.base_url = base_url
        self._control = control

    def script(self, *steps: dict) -> None:
        self._control.post("/control/script", json=steps).raise_for_status()

    def requests(self) -> list[dict]:
        return self._control.get("/control/requests").json()["requests"]

    def forget(self) -> None:
        self.script()
        self._control.delete("/control/requests").raise_for_status()


@pytest.fixture(scope="module")
def running():
    with serve(ScriptedModel()) as base_url, httpx2.Client(base_url=base_url.removesuffix("/v1")) as control:
        yield Server(base_url, control)


@pytest.fixture
def server(running):
    running.forget()
    return running


@pytest.fixture
async def model(server):
    model = open_model(
        provider="openai", api_key=KEY, model="gpt-5", base_url=server.base_url, timeout_seconds=5
    )
    yield model
    await model.close()


@pytest.fixture
async def hasty_model(server):
    model = open_model(
        provider="openai", api_key=KEY, model="gpt-5", base_url=server.base_url, timeout_seconds=1
    )
    yield model
    await model.close()


async def complete(asked, messages=QUESTION, /, **options) -> Completion:
    *_, completion = [piece async for piece in asked.stream(messages, **options)]
    return completion


async def failure(model) -> LightningError:
    with pytest.raises(LightningError) as caught:
        await complete(model)
    return caught.value


def events(*chunks: dict | str) -> str:
    """Write a stream by hand."""
    texts = (chunk if isinstance(chunk, str) else orjson.dumps(chunk).decode() for chunk in chunks)
    return "".join(f"data: {text}\n\n" for text in texts)


def chunk(finish_reason: str | None = None, **delta) -> dict:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


# What is sent


async def test_the_request_carries_conversation_tools_and_key(server, model):
    # Given a conversation with a tool call, and a tool
    call = ToolCall("call_1", "look_up", '{"word":"moon"}')
    conversation = [
        ChatMessage("system", "be brief"),
        ChatMessage("user", "look it up"),
        ChatMessage("assistant", "", tool_calls=(call,)),
        ChatMessage("tool", "a satellite", tool_call_id="call_1"),
    ]
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}

    # When another model than the usual one is asked
    completion = await complete(
        model, conversation, model="gpt-5-mini", tools=[ToolSpec("look_up", "Looks up.", schema)]
    )

    # Then the provider gets exactly that, with the key
    (request,) = server.requests()
    assert request["authorization"] is True
    assert request["body"] == {
        "model": "gpt-5-mini",
        "stream": True,
        "stream_options": {"include_usage": True},
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": "look it up"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "look_up", "arguments": '{"word":"moon"}'},
                    }
                ],
            },
            {"role": "tool", "content": "a satellite", "tool_call_id": "call_1"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "look_up", "description": "Looks up.", "parameters": schema},
            }
        ],
    }
    assert completion.model == "gpt-5-mini"


async def test_the_environment_does_not_redirect_the_call(server, monkeypatch):
    # Given an environment that names another server and key
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    monkeypatch.setenv("OPENAI_API_KEY", "")

    # When a model is opened by its settings and asked
    model = open_model(provider="openai", api_key=KEY, model="gpt-5", base_url=server.base_url)
    completion = await complete(model)
    await model.close()

    # Then the settings hold
    assert completion.content == "You said: what is the moon?"


# What is read

FIELDS = ("id", "name", "arguments")


async def test_tool_calls_are_assembled(server, model):
    # Given a model that speaks and calls two tools
    server.script(
        {
            "reply": "Let me see.",
            "tool_calls": [
                {"name": "look_up", "arguments": {"word": "moon"}, "id": "call_a"},
                {"name": "add", "arguments": {"a": 1, "b": 2}, "id": "call_b"},
            ],
        }
    )

    # When it is asked
    completion = await complete(model)

    # Then text and calls are whole
    assert completion.content == "Let me see."
    assert completion.finish_reason == "tool_calls"
    assert completion.tool_calls == (
        ToolCall("call_a", "look_up", '{"word":"moon"}'),
        ToolCall("call_b", "add", '{"a":1,"b":2}'),
    )


@pytest.mark.parametrize("indices", [(0, 1, 0, 1), (0, 0, None, None)], ids=["interleaved", "one index"])
async def test_tool_calls_of_servers_with_other_habits_are_assembled(server, model, indices):
    # Given a server that interleaves calls, or sends each whole under one index
    def piece(index, call_id, name, arguments):
        call = {"index": index, "function": {"name": name, "arguments": arguments}} | (
            {"id": call_id} if call_id else {}
        )
        return chunk(tool_calls=[call])

    if indices[2] is None:
        pieces = [piece(0, "a", "f", "{}"), piece(0, "b", "g", "[]")]
    else:
        pieces = [piece(0, "a", "f", "{"), piece(1, "b", "g", "["), piece(0, None, None, "}")]
        pieces.append(piece(1, None, None, "]"))
    server.script({"raw": events(*pieces, chunk("tool_calls"), "[DONE]")})

    # When it is asked, then the calls are two
    *pieces, completion = [each async for each in model.stream(QUESTION)]
    assert completion.tool_calls == (ToolCall("a", "f", "{}"), ToolCall("b", "g", "[]"))
    # And so they are for who joins their pieces
    joined = [
        tuple("".join(getattr(each, field) for each in pieces if each.number == number) for field in FIELDS)
        for number in (0, 1)
    ]
    assert joined == [("a", "f", "{}"), ("b", "g", "[]")]


async def test_a_refusal_is_an_answer(server, model):
    # Given a model that refuses
    server.script(
        {"raw": events(chunk(refusal="I cannot "), chunk(refusal="help."), chunk("stop"), "[DONE]")}
    )

    # When it is asked, then the reader gets its words
    assert (await complete(model)).content == "I cannot help."


async def test_usage_that_the_provider_does_not_give_is_none(server, model):
    # Given a server that reports no usage
    server.script({"reply": "A rock.", "usage": False, "finish_reason": "length"})

    # When it is asked
    completion = await complete(model)

    # Then the usage is unknown, not zero
    assert completion.usage is None
    assert completion.finish_reason == "length"


@pytest.mark.parametrize(
    "end",
    [{}, {"hang_seconds": 5, "hang_after": 1}, {"cut_after": 1}],
    ids=["ended early", "hanging", "dropped"],
)
async def test_an_answer_that_fails_after_its_finish_reason_is_kept(server, model, hasty_model, end):
    # Given a server that fails between the finish reason and the usage
    server.script({"raw": events(chunk(content="A rock."), chunk("stop")), **end})

    # When it is asked
    completion = await complete(hasty_model if "hang_seconds" in end else model)

    # Then the answer, which is whole and paid for, is not bought again
    assert completion.content == "A rock."
    assert completion.usage is None


# What errors mean


@pytest.mark.parametrize(
    ("step", "kind", "code", "retry_after"),
    [
        ({"status": 429}, Transient, "model_rate_limited", None),
        ({"status": 429, "headers": {"Retry-After": "7"}}, Transient, "model_rate_limited", 7.0),
        ({"status": 429, "headers": {"retry-after-ms": "1500"}}, Transient, "model_rate_limited", 1.5),
        (
            {"status": 429, "headers": {"retry-after-ms": "250", "retry-after": "1"}},
            Transient,
            "model_rate_limited",
            0.25,
        ),
        ({"status": 429, "headers": {"Retry-After": "soon"}}, Transient, "model_rate_limited", None),
        ({"status": 429, "headers": {"Retry-After": "nan"}}, Transient, "model_rate_limited", None),
        ({"status": 429, "headers": {"Retry-After": "-3"}}, Transient, "model_rate_limited", 0.0),
        (
            {"status": 429, "error": {"message": "no money", "code": "insufficient_quota"}},
            Permanent,
            "model_quota_exhausted",
            None,
        ),
        ({"status": 500}, Transient, "model_unavailable", None),
        ({"status": 503, "headers": {"Retry-After": "3"}}, Transient, "model_unavailable", 3.0),
        ({"status": 408}, Transient, "model_unavailable", None),
        ({"status": 409}, Transient, "model_unavailable", None),
        ({"status": 401}, Permanent, "model_credentials_refused", None),
        ({"status": 403}, Permanent, "model_credentials_refused", None),
        ({"status": 400}, Permanent, "model_refused", None),
        ({"status": 404}, Permanent, "model_refused", None),
        ({"status": 422}, Permanent, "model_refused", None),
    ],
)
async def test_a_status_says_whether_to_try_again(server, model, step, kind, code, retry_after):
    # Given a server that answers with an error
    server.script(step)

    # When it is asked
    error = await failure(model)

    # Then the error says whether and when to try again, and the SDK has not tried again itself
    assert type(error) is kind
    assert error.code == code
    assert getattr(error, "retry_after", None) == retry_after
    assert len(server.requests()) == 1


async def test_retry_after_may_be_a_date(server, model):
    # Given a server that names a time
    server.script({"status": 429, "headers": {"Retry-After": formatdate(time.time() + 30, usegmt=True)}})

    # When it is asked, then the wait is until then
    assert (await failure(model)).retry_after == pytest.approx(30, abs=3)


async def test_a_refusal_carries_the_provider_s_words(server, model):
    # Given a server with a reason
    server.script({"status": 400, "error": "The context is too long."})

    # When it is asked, then the reader learns it
    assert "The context is too long." in (await failure(model)).message


async def test_refused_credentials_name_the_setting(server, model):
    # Given a server that does not know the key
    server.script({"status": 401})

    # When it is asked, then the operator learns where to look
    assert "OPENAI_API_KEY" in (await failure(model)).message


@pytest.mark.parametrize(
    "step",
    [
        {"reply": "one two three four", "cut_after": 2},
        {"reply": "one two three four", "cut_after": 0},
        {"raw": events(chunk(content="one"), "[DONE]")},
        {"raw": events(chunk(content="one"))},
        {"raw": events(chunk(content="one"), "{not json")},
        {"raw": events(chunk(content="one"), '"a word"')},
        {"raw": events(chunk(content="one"), {"id": "c", "choices": [{"index": 0}]})},
        {"raw": events(chunk("tool_calls", tool_calls=[{"index": 0, "function": {"name": "f"}}]), "[DONE]")},
        {"raw": events(chunk(content="one"), {"error": {"message": "overloaded"}})},
        {"raw": "<html>hello</html>", "headers": {"content-type": "text/html"}},
    ],
    ids=[
        "dropped",
        "dropped at once",
        "no finish reason",
        "no end",
        "not json",
        "no object",
        "no delta",
        "tool call without id",
        "error object",
        "no stream",
    ],
)
async def test_an_answer_without_its_end_is_cut(server, model, step):
    # Given a server that breaks off
    server.script(step)

    # When it is asked
    error = await failure(model)

    # Then it may be tried again
    assert type(error) is Transient
    assert error.code == "model_stream_cut"


async def test_a_cut_says_what_came_instead(server, model):
    # Given servers that break off with a word
    server.script(
        {"raw": events({"error": {"message": "overloaded"}}), "times": 1},
        {"raw": "<html>", "headers": {"content-type": "text/html"}},
    )

    # When they are asked, then the error says what they sent
    assert "overloaded" in (await failure(model)).message
    assert "OPENAI_BASE_URL" in (await failure(model)).message


@pytest.mark.parametrize("hang_after", [0, 1], ids=["before the answer", "between its pieces"])
async def test_silence_is_a_timeout(server, hasty_model, hang_after):
    # Given a server that falls silent
    server.script({"reply": "one two three", "hang_seconds": 5, "hang_after": hang_after})

    # When it is asked
    begun = time.monotonic()
    error = await failure(hasty_model)

    # Then it is not waited for
    assert (type(error), error.code) == (Transient, "model_timeout")
    assert time.monotonic() - begun < 3


async def test_slow_pieces_are_no_timeout(server, hasty_model):
    # Given a server that needs longer than the timeout for the whole, but not for a piece
    server.script({"reply": "one two three four five six", "chunks": 6, "delay_ms": 300})

    # When it is asked, then it is waited for
    assert (await complete(hasty_model)).content == "one two three four five six"


async def test_no_server_is_unreachable():
    # Given a port without a server
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    model = open_model(provider="openai", api_key=KEY, model="m", base_url=f"http://127.0.0.1:{port}/v1")

    # When it is asked
    error = await failure(model)
    await model.close()

    # Then it may be there later
    assert (type(error), error.code) == (Transient, "model_unreachable")
    assert str(port) in error.message


async def test_leaving_hangs_up(server, model):
    # Given a server in the middle of an answer
    server.script({"reply": "one two three four", "hold": True})
    async with aclosing(model.stream(QUESTION)) as pieces:
        assert isinstance(await anext(pieces), TextDelta)

    # When the consumer has left, then the server learns it at once, so that no more tokens are spent
    async with asyncio.timeout(5):
        while server.requests()[0]["outcome"] == "open":  # noqa: ASYNC110  # the server knows no event of ours
            await asyncio.sleep(0.01)
    assert server.requests()[0]["outcome"] == "disconnected"


# The key


def everything_in(error: BaseException) -> str:
    """Give all that a log, a span or a page could show of an error."""
    texts, seen = ["".join(traceback.format_exception(error))], set()
    todo: list[BaseException | None] = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        texts += [str(each), repr(each), repr(each.args), repr(vars(each))]
        todo += [each.__cause__, each.__context__]
    return "\n".join(texts)


@pytest.mark.parametrize(
    "step",
    [
        {"status": 400, "error": f"bad header: Bearer {KEY}"},
        {"status": 401, "error": f"Incorrect API key provided: {KEY}"},
        {"status": 403, "error": f"Incorrect API key provided: {KEY}"},
        {"status": 429, "error": {"message": f"key {KEY} is poor", "code": "insufficient_quota"}},
        {"status": 500, "error": f"crash with {KEY}"},
        {"status": 400, "error": f"Basic {base64.b64encode(f'user:{KEY}'.encode()).decode()}"},
        {"raw": events({"error": {"message": f"crash with {KEY}"}})},
        {"raw": "x", "headers": {"content-type": "text/html"}},
        {"cut_after": 1},
    ],
    ids=["400", "401", "403", "quota", "500", "in base64", "in the stream", "no stream", "cut"],
)
async def test_no_error_shows_the_key(server, model, step, caplog):
    # Given a server that quotes the key
    caplog.set_level("DEBUG")
    server.script(step)

    # When it is asked
    error = await failure(model)

    # Then neither the error, nor what it came from, nor the log has it
    assert KEY not in everything_in(error)
    assert base64.b64encode(KEY.encode()[1:19]).decode() not in error.message  # as behind `user:`
    assert KEY not in caplog.text
    assert KEY not in repr(
        [vars(part) for part in (model, *vars(model).values()) if hasattr(part, "__dict__")]
    )


@pytest.mark.parametrize("key", ["", "  \n", None, f"{KEY}\nX-Other: 1", f"{KEY}ü"])
def test_a_key_that_cannot_be_sent_refuses_to_start(key):
    # When a model is opened without a usable key
    with pytest.raises(Permanent) as caught:
        open_model(provider="openai", api_key=key, model="m")

    # Then the operator learns which setting to mend, and the log does not learn the key
    assert caught.value.code == "model_not_configured"
    assert "OPENAI_API_KEY" in caught.value.message
    assert KEY not in everything_in(caught.value)


@pytest.mark.parametrize(
    ("options", "setting"),
    [({"model": None}, "OPENAI_MODEL"), ({"model": "m", "base_url": "example.com/v1"}, "OPENAI_BASE_URL")],
)
def test_a_missing_setting_is_named(options, setting):
    # When a model is opened without what it needs, then it says what
    with pytest.raises(Permanent, match=setting):
        open_model(provider="openai", api_key=KEY, **options)


async def test_a_key_from_a_file_may_end_with_a_line_end(server):
    # Given a key as `echo KEY > file` leaves it, and a server that demands it
    with serve(ScriptedModel(key=KEY)) as base_url:
        model = open_model(provider="openai", api_key=f"{KEY}\n", model="m", base_url=base_url)

        # When it is asked, then it answers
        assert (await complete(model)).finish_reason == "stop"
        await model.close()


def test_echo_starts_without_the_sdk():
    # When echo is opened in a fresh process
    program = "import sys, lightning.llm as l; l.open_model(provider='echo'); print('openai' in sys.modules)"
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    # Then the SDK's half second was not spent
    assert output.stdout.strip() == "False"


# A conversation that is too long


TOO_LONG = {
    "openai": {
        "message": "This model's maximum context length is 16385 tokens. However, you sent more",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "context_length_exceeded",
    },
    "by its code": {"message": "reduce what you send", "code": "context_length_exceeded"},
    "llama.cpp": {
        "message": "the request exceeds the available context size",
        "type": "exceed_context_size_error",
        "code": 400,
    },
    "vllm": {"message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError"},
}


@pytest.mark.parametrize("error", TOO_LONG.values(), ids=TOO_LONG)
async def test_a_conversation_that_is_too_long_has_a_word_of_its_own(server, model, error):
    # Given a server that refuses as this one does, when it is asked
    server.script({"status": 400, "error": error})
    failed = await failure(model)

    # Then there is no point in trying again, and the user is told what helps
    assert type(failed) is Permanent
    assert failed.code == "context_too_long"
    assert "shorter" in failed.message
    assert error["message"][:20] in failed.message


async def test_the_newer_half_is_shown_until_it_fits(server, model):
    # Given a conversation of 8 turns, and a server whose window has room for 30 words
    server.script({"over_words": 30, "status": 400, "error": TOO_LONG["openai"]})
    conversation = [ChatMessage("system", "be brief")]
    for number in range(8):
        conversation += [
            ChatMessage("user", f"question {number} of eight words in all here"),
            ChatMessage("assistant", f"answer {number}"),
        ]
    conversation.append(ChatMessage("user", "the last"))

    # When it is asked
    completion = await complete(model, conversation)

    # Then it answers the last question, and was shown less each time, from its beginning on
    assert completion.content == "You said: the last"
    shown = [request["body"]["messages"] for request in server.requests()]
    assert len(shown[0]) == len(conversation)
    assert [len(each) for each in shown] == sorted({len(each) for each in shown}, reverse=True)
    for messages in shown:
        assert messages[0]["content"] == "be brief"
        assert messages[1]["role"] == "user"
        assert messages[-1]["content"] == "the last"


async def test_a_message_that_is_too_long_alone_is_refused(server, model):
    # Given a message beyond the window, when it is asked
    server.script({"over_words": 3, "status": 400, "error": TOO_LONG["openai"]})
    failed = await failure(model)

    # Then it is asked once, since nothing can be left out
    assert failed.code == "context_too_long"
    assert len(server.requests()) == 1


async def test_other_refusals_are_not_tried_with_less(server, model):
    server.script({"status": 400, "error": "no"})
    with pytest.raises(Permanent):
        await complete(model, [ChatMessage("user", "one"), ChatMessage("user", "two")])
    assert len(server.requests()) == 1
