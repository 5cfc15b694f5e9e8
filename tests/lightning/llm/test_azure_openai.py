"""Azure OpenAI: where requests go, with which credentials, and what its errors mean."""

import subprocess
import sys
import time

import httpx2
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError, ServiceRequestError

from lightning.errors import Permanent, Transient
from lightning.llm import ChatMessage, open_model
from ops.emulators.openai import ScriptedModel, serve

KEY = "azure-canary-0123456789abcdef"
DATED = "2024-10-21"
QUESTION = [ChatMessage("user", "what is the moon?")]


class Identity:
    """An identity whose tokens a test chooses; each lives as long as it says."""

    def __init__(self, *tokens, seconds=3600, error=None):
        self.tokens, self.seconds, self.error = list(tokens), seconds, error
        self.scopes = []

    def get_token(self, *scopes, **_options):
        self.scopes.append(scopes)
        if self.error is not None:
            raise self.error
        return AccessToken(self.tokens.pop(0), int(time.time()) + self.seconds)


class Server:
    def __init__(self, endpoint, control):
        self.endpoint, self.control = endpoint, control

    def script(self, *steps):
        self.control.post("/control/script", json=steps).raise_for_status()

    def requests(self):
        return self.control.get("/control/requests").json()["requests"]


@pytest.fixture(scope="module")
def running():
    with serve(ScriptedModel()) as base_url:
        endpoint = base_url.removesuffix("/v1")
        with httpx2.Client(base_url=endpoint) as control:
            yield Server(endpoint, control)


@pytest.fixture
def server(running):
    running.script()
    running.control.delete("/control/requests").raise_for_status()
    return running


@pytest.fixture
async def opened(server):
    """Open models, and close them in the end."""
    models = []

    def open_one(**options):
        given = {"model": "chat", "base_url": server.endpoint, "timeout_seconds": 5, **options}
        models.append(open_model(provider="azure-openai", **given))
        return models[-1]

    yield open_one
    for model in models:
        await model.close()


async def complete(asked, **options):
    *_, completion = [piece async for piece in asked.stream(QUESTION, **options)]
    return completion


async def failure(model):
    with pytest.raises((Permanent, Transient)) as caught:
        await complete(model)
    return caught.value


class TestAddress:
    @pytest.mark.parametrize("path", ["", "/", "/openai", "/openai/", "/openai/v1", "/openai/v1/"])
    async def test_the_newer_api_needs_no_version(self, server, opened, path):
        # When a model is opened by any of the addresses that the portal shows
        completion = await complete(opened(api_key=KEY, base_url=server.endpoint + path))

        # Then its deployment is asked there
        assert completion.content == "You said: what is the moon?"
        (request,) = server.requests()
        assert request["path"] == "/openai/v1/chat/completions"
        assert request["body"]["model"] == "chat"

    async def test_the_older_api_names_deployment_and_version(self, server, opened):
        model = opened(api_key=KEY, api_version=DATED)

        # When its own deployment is asked, and another one
        await complete(model)
        await complete(model, model="other")

        # Then each has its path
        assert [request["path"] for request in server.requests()] == [
            f"/openai/deployments/{name}/chat/completions?api-version={DATED}" for name in ("chat", "other")
        ]

    async def test_the_environment_does_not_redirect_the_call(self, server, opened, monkeypatch):
        # Given variables that the SDK would read
        for name, value in {
            "AZURE_OPENAI_ENDPOINT": "http://127.0.0.1:9",
            "AZURE_OPENAI_API_KEY": "other",
            "AZURE_OPENAI_AD_TOKEN": "other",
            "OPENAI_API_VERSION": "1999-01-01",
            "OPENAI_API_KEY": "other",
            "OPENAI_BASE_URL": "http://127.0.0.1:9",
        }.items():
            monkeypatch.setenv(name, value)
        server.script({"require_headers": {"api-key": KEY}})

        # When a model is asked, then only what it was given counts
        await complete(opened(api_key=KEY, api_version=DATED))
        assert DATED in server.requests()[0]["path"]

    def test_its_provider_has_the_name_that_the_conventions_give_it(self, opened):
        assert opened(api_key=KEY).provider == "azure.ai.openai"

    @pytest.mark.parametrize(
        ("options", "setting"),
        [
            ({"base_url": None}, "OPENAI_BASE_URL"),
            ({"base_url": "name.openai.azure.com"}, "OPENAI_BASE_URL"),
            ({"api_key": f"{KEY}ü"}, "OPENAI_API_KEY"),
            ({"model": None}, "OPENAI_MODEL"),
        ],
    )
    def test_what_is_missing_is_named(self, opened, options, setting):
        with pytest.raises(Permanent, match=setting) as caught:
            opened(**{"api_key": KEY, **options})
        assert caught.value.code == "model_not_configured"


class TestKey:
    @pytest.mark.parametrize(
        ("version", "headers"),
        [("v1", {"authorization": f"Bearer {KEY}"}), (DATED, {"api-key": KEY})],
    )
    async def test_it_is_sent_as_the_api_wants_it(self, server, opened, version, headers):
        # Given a server that demands it there
        server.script({"require_headers": headers})
        await complete(opened(api_key=f"{KEY}\n", api_version=version))

    async def test_a_refused_one_names_its_setting(self, server, opened):
        server.script({"require_headers": {"api-key": "other"}})
        failed = await failure(opened(api_key=KEY, api_version=DATED))
        assert (type(failed), failed.code) == (Permanent, "model_credentials_refused")
        assert "OPENAI_API_KEY" in failed.message


class TestIdentity:
    @pytest.mark.parametrize("version", ["v1", DATED])
    async def test_its_token_is_sent_and_kept(self, server, opened, version):
        # Given a server that demands the token
        server.script({"require_headers": {"authorization": "Bearer token-1"}})
        identity = Identity("token-1", "token-2")
        model = opened(credential=identity, api_version=version)

        # When it is asked twice
        await complete(model)
        await complete(model)

        # Then the identity was asked once, for the right audience
        assert identity.scopes == [("https://cognitiveservices.azure.com/.default",)]

    async def test_a_token_that_has_run_out_is_renewed(self, server, opened):
        server.script(
            {"times": 1, "require_headers": {"authorization": "Bearer token-1"}},
            {"times": 1, "require_headers": {"authorization": "Bearer token-2"}},
        )
        model = opened(credential=Identity("token-1", "token-2", seconds=1))
        await complete(model)
        await complete(model)

    @pytest.mark.parametrize("version", ["v1", DATED])
    @pytest.mark.parametrize(
        "error",
        [ClientAuthenticationError("no identity here\nmore"), ServiceRequestError("it does not answer")],
    )
    async def test_without_a_token_it_is_tried_again_later(self, server, opened, version, error):
        failed = await failure(opened(credential=Identity(error=error), api_version=version))
        assert (type(failed), failed.code) == (Transient, "model_identity_unavailable")
        assert error.message.partition("\n")[0] in failed.message
        assert "more" not in failed.message
        assert server.requests() == []

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_role_that_is_missing_is_named_and_the_token_is_not_shown(self, server, opened, status):
        # Given a server that quotes the token
        server.script({"status": status, "error": "the principal of secret-token-1 lacks the action"})
        failed = await failure(opened(credential=Identity("secret-token-1")))

        # Then the operator learns what to look at
        assert (type(failed), failed.code) == (Permanent, "model_credentials_refused")
        assert "its role on the resource" in failed.message
        assert "OPENAI_API_KEY" not in failed.message
        assert "secret-token-1" not in failed.message
        assert failed.__context__ is None

    def test_a_key_asks_no_identity(self):
        # When a model is opened with a key in a fresh process
        program = (
            "import sys, lightning.llm as l;"
            "l.open_model(provider='azure-openai', api_key='k', model='m', base_url='http://127.0.0.1:9');"
            "print('azure.identity' in sys.modules)"
        )
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        # Then the identity's SDK was not loaded
        assert output.stdout.strip() == "False"

    def test_the_processs_own_identity_is_not_asked_before_it_is_needed(self):
        # When a model is opened with the process's identity, in a process that may not reach anything
        program = (
            "import socket, lightning.llm as l;"
            "from lightning.azure_identity import Identity as I;"
            "socket.socket.connect = socket.create_connection = lambda *a, **k: 1 / 0;"
            "given = {'model': 'm', 'base_url': 'http://127.0.0.1:9', 'credential': I('managed', 'c')};"
            "print(l.open_model(provider='azure-openai', **given).provider)"
        )
        output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        # Then it is open, and nothing was looked for yet
        assert output.stdout.strip() == "azure.ai.openai"


class TestErrors:
    async def test_an_unknown_deployment(self, server, opened):
        words = {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}
        server.script({"status": 404, "error": words})
        failed = await failure(opened(api_key=KEY, api_version=DATED))
        assert (type(failed), failed.code) == (Permanent, "model_refused")
        assert "deployment does not exist" in failed.message

    async def test_a_limit_says_when_to_come_again(self, server, opened):
        server.script({"status": 429, "headers": {"retry-after-ms": "1500"}, "error": {"code": "429"}})
        failed = await failure(opened(api_key=KEY))
        assert (type(failed), failed.code, failed.retry_after) == (Transient, "model_rate_limited", 1.5)
