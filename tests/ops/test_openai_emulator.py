"""The scripted model: what a script can demand, hold, fail and count."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx2
import orjson
import pytest

from ops.emulators.openai import ScriptedModel, serve

BOUND_SECONDS = 10


def chat(*texts: str, **options) -> dict:
    messages = [{"role": "user", "content": text} for text in texts]
    return {"model": "scripted", "messages": messages, **options}


def streamed(body: bytes) -> list[dict]:
    """Read the events of a stream, and check its end mark."""
    *events, end = body.decode().removesuffix("\n\n").split("\n\n")
    assert end == "data: [DONE]"
    return [orjson.loads(event.removeprefix("data: ")) for event in events]


async def wait_until(condition) -> None:
    """Wait until an awaitable check holds, with a bound."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await condition():  # noqa: ASYNC110  # the server knows no event of ours
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def root():
    with serve(ScriptedModel()) as base_url:
        yield base_url.removesuffix("/v1")


@pytest.fixture
async def client(root):
    async with httpx2.AsyncClient(base_url=root, timeout=BOUND_SECONDS) as client:
        await script(client)
        await client.delete("/control/requests")
        yield client


async def script(client, *steps: dict) -> None:
    (await client.post("/control/script", json=steps)).raise_for_status()


async def ask(client, *texts: str, **options) -> httpx2.Response:
    return await client.post("/v1/chat/completions", json=chat(*texts, **options))


async def answer_of(client, *texts: str) -> str:
    response = await ask(client, *texts)
    return response.raise_for_status().json()["choices"][0]["message"]["content"]


async def held(client) -> int:
    return (await client.get("/control/held")).json()["held"]


# Answers


async def test_without_a_script_it_echoes(client):
    # When it is asked, then it repeats the last thing said, and counts words
    body = (await ask(client, "one two", "three")).json()
    assert body["choices"][0]["message"]["content"] == "You said: three"
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}


async def test_a_stream_has_the_provider_s_shape(client):
    # Given a reply in two pieces
    await script(client, {"reply": "abcd", "chunks": 2})

    # When it is streamed with usage
    response = await ask(client, "x", stream=True, stream_options={"include_usage": True})

    # Then role, pieces, finish reason, usage and end mark come in order
    assert response.headers["content-type"].startswith("text/event-stream")
    events = streamed(response.content)
    deltas = [event["choices"][0]["delta"] for event in events[:-1]]
    assert deltas == [{"role": "assistant", "content": ""}, {"content": "ab"}, {"content": "cd"}, {}]
    assert [event["choices"][0]["finish_reason"] for event in events[:-1]] == [None, None, None, "stop"]
    assert all(event["usage"] is None for event in events[:-1])
    assert (events[-1]["choices"], events[-1]["usage"]["completion_tokens"]) == ([], 1)


async def test_steps_match_by_text_and_model_and_are_used_up(client):
    # Given steps of several kinds
    await script(
        client,
        {"contains": ["red", "blue"], "reply": "both"},
        {"last_contains": ["green"], "reply": "green now"},
        {"model": "other", "reply": "another model"},
        {"reply": "first", "times": 1},
        {"reply": "second", "times": 2},
    )

    # When requests come, then the first step that matches and is left answers, and at last the echo
    assert await answer_of(client, "red", "blue") == "both"
    assert await answer_of(client, "red", "green") == "green now"
    assert (await ask(client, "x", model="other")).json()["choices"][0]["message"][
        "content"
    ] == "another model"
    plain = [await answer_of(client, "green", "x") for _ in range(4)]
    assert plain == ["first", "second", "second", "You said: x"]


async def test_a_missing_fact_fails_by_name_and_is_recorded(client):
    # Given a step that demands an earlier fact
    await script(client, {"require": ["my name is Ada", "I live in Rome"], "reply": "Ada", "times": 1})

    # When a request lacks one
    response = await ask(client, "my name is Ada", "who am I?")

    # Then it fails, naming that one, and the record says so
    assert response.status_code == 422
    assert "I live in Rome" in response.json()["error"]["message"]
    assert "Ada" not in response.json()["error"]["message"]
    (request,) = (await client.get("/control/requests")).json()["requests"]
    assert (request["missing"], request["outcome"]) == (["I live in Rome"], "refused")

    # And the step is not used up by it
    assert await answer_of(client, "my name is Ada", "I live in Rome", "who am I?") == "Ada"


async def test_models_are_listed(client):
    # Given a script that speaks of a model, when models are listed, then it is there
    await script(client, {"model": "gpt-x"})
    models = (await client.get("/v1/models")).json()["data"]
    assert [model["id"] for model in models] == ["gpt-x", "scripted"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "robot"),
        ({"messages": [{"role": "user", "content": None}]}, "content"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "a"}]}, "preceeding"),
        (
            {
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "call_a"}]},
                    {"role": "user", "content": "x"},
                ]
            },
            "call_a",
        ),
        ({"tools": []}, "tools"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
async def test_what_the_provider_refuses_is_refused(client, change, word):
    # When a request is wrong, then it is refused in the provider's shape, with the reason
    response = await ask(client, "x", **change)
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert word in response.json()["error"]["message"]


async def test_a_body_that_is_not_json_is_refused(client):
    # When it is asked nonsense, then it says so, and keeps what came
    response = await client.post("/v1/chat/completions", content=b"{nonsense")
    assert response.status_code == 400
    (request,) = (await client.get("/control/requests")).json()["requests"]
    assert request["body"] == "{nonsense"


async def test_the_key_is_checked_and_never_recorded():
    # Given a server with a key
    with serve(ScriptedModel(key="sk-right")) as base_url:
        async with httpx2.AsyncClient(base_url=base_url.removesuffix("/v1")) as client:
            # When requests come with the right, a wrong and no key
            statuses = []
            for headers in ({"authorization": "Bearer sk-right"}, {"authorization": "Bearer sk-wrong"}, {}):
                response = await client.post("/v1/chat/completions", json=chat("x"), headers=headers)
                statuses.append(response.status_code)
            record = (await client.get("/control/requests")).text

    # Then only the right one passes, and the record knows only whether there was one
    assert statuses == [200, 401, 401]
    assert response.json()["error"]["code"] == "invalid_api_key"
    assert "sk-" not in record
    assert [entry["authorization"] for entry in orjson.loads(record)["requests"]] == [True, True, False]


# Azure's paths


AZURE_V1 = "/openai/v1/chat/completions"
AZURE_DATED = "/openai/deployments/chat/chat/completions"


async def test_azure_s_paths_take_the_key_in_either_header():
    # Given a server with a key
    with serve(ScriptedModel(key="sk-right")) as base_url:
        async with httpx2.AsyncClient(base_url=base_url.removesuffix("/v1")) as client:
            # When requests come with the right and a wrong one in each header, on each path
            statuses = {}
            for path in (AZURE_V1, f"{AZURE_DATED}?api-version=2024-10-21", "/v1/chat/completions"):
                for headers in (
                    {"api-key": "sk-right"},
                    {"authorization": "Bearer sk-right"},
                    {"api-key": "x"},
                ):
                    response = await client.post(path, json=chat("x"), headers=headers)
                    statuses.setdefault(path, []).append(response.status_code)
            record = (await client.get("/control/requests")).text

    # Then only Azure's know its own header, and nothing is kept of either
    assert list(statuses.values()) == [[200, 200, 401], [200, 200, 401], [401, 200, 401]]
    assert "sk-" not in record


async def test_a_deployment_is_the_model_and_wants_a_version(client):
    body = {name: value for name, value in chat("x").items() if name != "model"}
    answer = await client.post(AZURE_DATED, params={"api-version": "2024-10-21"}, json=body)
    assert answer.json()["model"] == "chat"
    assert (await client.post(AZURE_DATED, json=body)).status_code == 404


async def test_azure_s_stream_begins_with_the_content_filter(client):
    body = chat("x", stream=True)
    first = streamed((await client.post(AZURE_V1, json=body)).content)[0]
    assert first["choices"] == []
    assert first["prompt_filter_results"]
    assert streamed((await client.post("/v1/chat/completions", json=body)).content)[0]["choices"]


async def test_a_step_may_demand_headers_and_apply_to_long_conversations_only(client):
    await script(
        client, {"over_words": 2, "reply": "long"}, {"require_headers": {"x-a": "1"}, "reply": "short"}
    )
    assert await answer_of(client, "one two three") == "long"
    assert (await ask(client, "one two")).status_code == 401
    answer = await client.post("/v1/chat/completions", json=chat("one two"), headers={"x-a": "1"})
    assert answer.json()["choices"][0]["message"]["content"] == "short"


# Failures


async def test_an_error_has_the_script_s_status_headers_and_words(client):
    # Given a scripted failure
    await script(client, {"status": 429, "headers": {"Retry-After": "7"}, "error": {"code": "slow_down"}})

    # When it is met, then it is as written, and the rest is the provider's usual
    response = await ask(client, "x")
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")
    assert response.json()["error"]["code"] == "slow_down"
    assert response.json()["error"]["type"] == "requests"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_cut_answer_stops_in_the_middle(client, stream):
    # Given a script that drops the connection
    await script(client, {"reply": "abcd", "chunks": 4, "cut_after": 1})

    # When it is met
    received = bytearray()

    async def read() -> None:
        async with client.stream("POST", "/v1/chat/completions", json=chat("x", stream=stream)) as response:
            async for data in response.aiter_bytes():
                received.extend(data)

    with pytest.raises(httpx2.RemoteProtocolError):
        await read()

    # Then what was before the cut has come, and nothing after it
    assert b'"a"' in received if stream else received.startswith(b'{"id"')
    assert b'"b"' not in received
    assert b"abcd" not in received
    assert (await client.get("/control/requests")).json()["requests"][0]["outcome"] == "cut"


async def test_a_client_that_leaves_is_noticed(client):
    # Given an answer that hangs
    await script(client, {"hang_seconds": 60})

    # When its client gives up
    with pytest.raises(httpx2.ReadTimeout):
        await client.post("/v1/chat/completions", json=chat("x"), timeout=0.1)

    # Then it is recorded as gone
    async def gone() -> bool:
        summary = (await client.get("/control/requests?summary=1")).json()
        return summary["outcomes"] == {"disconnected": 1, "open": 0}

    await wait_until(gone)


# Control


async def test_held_answers_wait_in_the_middle_until_released(client):
    # Given three answers that are held
    await script(client, {"reply": "abcd", "chunks": 2, "hold": True})
    answers = [asyncio.create_task(ask(client, f"q{n}", stream=True)) for n in range(3)]

    async def all_held() -> bool:
        return await held(client) == 3

    await wait_until(all_held)
    assert not any(answer.done() for answer in answers)

    # When one is released, then one answer ends
    assert (await client.post("/control/release?count=1")).json() == {"released": 1}
    done, _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_SECONDS)
    assert len(done) == 1
    assert await held(client) == 2

    # When all but the first are released, then one more ends
    left = [answer for answer in answers if answer not in done]
    assert (await client.post("/control/release?keep=1")).json() == {"released": 1}
    done, _ = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED, timeout=BOUND_SECONDS)
    assert len(done) == 1
    assert await held(client) == 1

    # When all are released, then all end whole
    assert (await client.post("/control/release")).json() == {"released": 1}
    for answer in await asyncio.gather(*answers):
        text = [event["choices"][0]["delta"].get("content", "") for event in streamed(answer.content)]
        assert "".join(text) == "abcd"


async def test_an_answer_may_be_held_several_times(client):
    # Given an answer that is held in the middle, and before its end
    await script(client, {"reply": "abcd", "chunks": 2, "hold": True, "hold_after": [1, 2]})
    answer = asyncio.create_task(ask(client, "x", stream=True))

    async def is_held() -> bool:
        return await held(client) == 1

    # When it is released as often, then it ends
    for _ in range(2):
        await wait_until(is_held)
        assert not answer.done()
        assert (await client.post("/control/release")).json() == {"released": 1}
    await answer
    assert await held(client) == 0


async def test_the_first_piece_of_a_held_answer_has_come(client):
    # Given an answer that is held after its first piece
    await script(client, {"reply": "abcd", "chunks": 2, "hold": True})

    # When it is read
    async with client.stream("POST", "/v1/chat/completions", json=chat("x", stream=True)) as response:
        pieces, received = response.aiter_bytes(), b""
        async with asyncio.timeout(BOUND_SECONDS):
            while b'"ab"' not in received:
                received += await anext(pieces)

        # Then the second piece has not
        assert b'"cd"' not in received
        assert await held(client) == 1

    # And a reader who leaves is not held any more
    async def none_held() -> bool:
        return await held(client) == 0

    await wait_until(none_held)


async def test_the_summary_counts_a_storm(client):
    # Given 250 streams at once, each in pieces with pauses, and one question asked twice
    await script(client, {"chunks": 3, "delay_ms": 20})
    questions = [f"q{n}" for n in range(249)] + ["q7"]
    limits = httpx2.Limits(max_connections=250)
    async with httpx2.AsyncClient(base_url=client.base_url, limits=limits, timeout=30) as crowd:
        answers = await asyncio.gather(*(ask(crowd, question, stream=True) for question in questions))

    # Then each has its answer, and the summary shows the one repeated
    assert all(len(streamed(answer.content)) == 5 for answer in answers)
    summary = (await client.get("/control/requests?summary=1")).json()
    assert (summary["count"], summary["distinct"], summary["repeated"]) == (250, 249, {"q7": 2})
    assert summary["by_last_user_message"]["q3"] == 1
    assert summary["outcomes"] == {"answered": 250, "open": 0}
    assert (summary["unscripted"], summary["missing"]) == (0, 0)


@pytest.mark.parametrize(
    ("steps", "word"), [([{"repy": "x"}], "repy"), ([{"times": 0}], "times"), ("x", "tuple")]
)
async def test_a_script_with_a_mistake_is_refused(client, steps, word):
    # Given a script in force
    await script(client, {"reply": "still here"})

    # When a wrong one comes
    response = await client.post("/control/script", json=steps)

    # Then it is refused with the reason, and the old one stays
    assert response.status_code == 400
    assert word in response.json()["error"]
    assert await answer_of(client, "x") == "still here"


# Server and process


def test_a_server_stops_although_an_answer_hangs():
    # Given a server with a hanging answer, and a client that listens
    script = [{"hang_seconds": 600, "hang_after": 1}]
    with ExitStack() as listening:
        with serve(ScriptedModel(script)) as base_url:
            client = listening.enter_context(httpx2.Client(timeout=BOUND_SECONDS))
            answer = listening.enter_context(
                client.stream("POST", f"{base_url}/chat/completions", json=chat("x", stream=True))
            )
            pieces = answer.iter_bytes()
            assert next(pieces)

            # When it is stopped
            begun = time.monotonic()

        # Then it has not waited for the answer, which is cut
        assert time.monotonic() - begun < 5
        with pytest.raises(httpx2.RemoteProtocolError):
            next(pieces)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ops.emulators.openai", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONWARNINGS": "error"},
    )


@pytest.mark.parametrize("hanging", [False, True])
def test_as_a_process_it_prints_one_line_and_stops_on_sigterm(tmp_path: Path, hanging: bool):
    # Given a script in a file, and a process that plays it
    file = tmp_path / "script.json"
    file.write_bytes(orjson.dumps([{"reply": "from a file", "chunks": 2, "hold": hanging}]))
    process = start("--script", str(file), "--key", "k")
    try:
        # When it has said where it is, then it answers there
        base_url = process.stdout.readline().strip()
        assert base_url.startswith("http://127.0.0.1:")
        headers = {"authorization": "Bearer k"}
        with (
            httpx2.Client(headers=headers, timeout=BOUND_SECONDS) as client,
            client.stream("POST", f"{base_url}/chat/completions", json=chat("x", stream=True)) as response,
        ):
            assert b"from " in next(response.iter_bytes())

            # When it is asked to stop, in the middle of an answer or not
            process.send_signal(signal.SIGTERM)

            # Then it stops in good order, and has said nothing else
            output, errors = process.communicate(timeout=BOUND_SECONDS)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("text", "word"), [('[{"repy": "x"}]', "repy"), ("{not json", "line 1 column 2")])
def test_as_a_process_it_refuses_a_wrong_script(tmp_path: Path, text: str, word: str):
    # Given a script with a mistake
    file = tmp_path / "script.json"
    file.write_text(text)

    # When it is started
    process = start("--script", str(file))
    output, errors = process.communicate(timeout=BOUND_SECONDS)

    # Then it says why it does not start
    assert (process.returncode, output) == (2, "")
    assert "--script" in errors
    assert word in errors
