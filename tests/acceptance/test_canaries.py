"""No secret of an installation is in what it prints, tells, gives up or asks a model, whatever fails."""

import base64
import json
import re
from urllib.parse import quote

import httpx2
import pytest

from lightning.settings import Settings
from ops.chaos.installation import ModelServer, until
from ops.ports import free_port
from tests.acceptance.images import interpreter, make_image
from tests.acceptance.running_up import Up
from tests.lightning.repositories.git_server import GitServer
from tests.receiver import receiving
from worker.agent_home import sandbox_agents

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("queue"),
    pytest.mark.parametrize("queue", ["azure"], indirect=True, scope="module"),
]

IMAGE = "registry.example/programs:1"
PYTHON = sandbox_agents().words[0]


def key_of(word: str) -> str:
    """Give a key that is written otherwise in a URL, in JSON and in base64."""
    return f'canary-{word}/+&="%-0123456789abcdef0123'


KEYS = {
    **{
        name: key_of(name.lower())
        for name in (
            "JWT_SIGNING_KEY",
            "JWT_SIGNING_KEY_PREVIOUS",
            "LIGHTNING_SECRET_KEY",
            "LIGHTNING_SECRET_KEY_PREVIOUS",
            "OPENAI_API_KEY",
            "ACI_REGISTRY_PASSWORD",
        )
    },
    "NOTIFY_SECRET": "whsec_" + base64.b64encode(b"canary-of-what-signs-notify-0123").decode(),
}

SETTINGS = {
    **KEYS,
    "ACI_REGISTRY_SERVER": "private.example",
    "ACI_REGISTRY_USERNAME": "pull",
    "LIGHTNING_LOG_LEVEL": "debug",
    "LIGHTNING_MAX_ATTEMPTS": "2",
    "LIGHTNING_RETRY_SECONDS": "0.1",
    "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
    "LIGHTNING_GIT_ALLOW": "127.0.0.1",
    "LIGHTNING_WEBHOOK_RETRIES": "0.1",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
}

# An agent that shows its token to whoever it speaks to, and to its log.
AGENT = """
import http.client, json, os, sys, urllib.parse
token = os.environ["LIGHTNING_RUN_TOKEN"]
print("environment", dict(os.environ), "backwards:", token[::-1], flush=True)
def post(url, body):
    where = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(where.netloc, timeout=30)
    connection.request("POST", where.path, json.dumps(body), {"content-type": "application/json",
        "authorization": "Bearer " + token})
    connection.getresponse().read()
api = os.environ["LIGHTNING_API_URL"]
post(api + "/run/progress", {"message": "with " + token})
post(os.environ["OPENAI_BASE_URL"] + "/chat/completions",
     {"model": "gpt-3.5-turbo", "messages": [{"role": "user", "content": "marker-of-the-run " + token}]})
span = {"traceId": "1" * 32, "spanId": "2" * 16, "name": "show " + token, "kind": 1, "startTimeUnixNano": "1",
        "endTimeUnixNano": "2", "attributes": [{"key": "header", "value": {"stringValue": token}}]}
post(os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] + "/v1/traces",
     {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
post(api + "/run/result", {"output": "marker-of-the-result " + token})
sys.exit("failed with " + token)
"""


def forms(secret: str) -> set[bytes]:
    """Give the ways in which a secret may be written."""
    written = {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}
    for before in range(3):  # base64 of a text in which it stands somewhere
        text = base64.b64encode(b"x" * before + secret.encode()).decode().rstrip("=")
        inner = text[-(-before * 4 // 3) : -1]
        written |= {inner, inner.replace("+", "-").replace("/", "_")}
    return {form.encode() for form in written}


def echo(key: str) -> str:
    """What a server says that shows its caller what it was shown."""
    basic = base64.b64encode(f"user:{key}".encode()).decode()
    return (
        f"marker-of-the-model You sent Authorization: Bearer {key}, Basic {basic}, ?key={quote(key, safe='')}"
    )


@pytest.fixture(scope="module")
def up(tmp_path_factory, queue):
    del queue
    folder = tmp_path_factory.mktemp("canaries")
    make_image(folder / "data" / "images" / IMAGE, interpreter())
    script = [
        {"last_contains": ["be refused"], "status": 400, "error": echo(KEYS["OPENAI_API_KEY"])},
        {"last_contains": ["be busy"], "status": 500, "error": echo(KEYS["OPENAI_API_KEY"])},
        {"reply": "Well."},
    ]
    with ModelServer(folder, script) as model:
        running = Up(folder / "data", {**model.environment(), **SETTINGS}, anew=True)
        running.model = model
        yield running
        running.stop()


@pytest.fixture(scope="module")
def used(up, tmp_path_factory):
    """Do everything that may give a secret away; give the secrets, and where they might be."""
    secrets = dict(KEYS)
    for name in ("SERVICEBUS_CONNECTION", "COSMOS_CONNECTION", "ACI_EMULATOR"):
        settings = Settings.load({**up.environment})
        connection = up.environment[name]
        [key] = [each for each in settings.secret_values() if each in connection and each != connection]
        secrets[name] = key
    printed: list[str] = []
    with up.client() as client, receiving() as receiver, httpx2.Client(base_url=up.url) as http:
        first = json.loads((up.data / "first_user.json").read_text())
        secrets["the password"] = first["password"]
        grant = http.post("/api/token", json={k: first[k] for k in ("username", "password")}).json()
        access = grant["access_token"]
        secrets |= {"the access token": access.split(".")[2], "the refresh token": grant["refresh_token"]}
        person = {"authorization": f"Bearer {access}"}

        def post(path: str, body: object, **headers: str) -> httpx2.Response:
            return http.post(path, json=body, headers={**person, **headers})

        made = post("/api/service-tokens", {"name": "nightly", "scopes": ["events:read"]}).json()
        secrets["a service token"] = made["token"]
        # webhooks of which nobody answers one, and the other answers badly; their addresses are secrets
        for name, url in (
            (
                "a closed webhook",
                f"http://127.0.0.1:{free_port()}/canary-of-a-path-1?key=canary-of-a-query-1",
            ),
            ("a bad webhook", f"{receiver.url}/broken/canary-of-a-path-2?key=canary-of-a-query-2"),
        ):
            made = post("/api/webhooks", {"url": url, "types": ["llm.chat.response"]})
            assert made.status_code == 201, made.text
            secrets[name] = made.json()["secret"].removeprefix("whsec_")
            secrets |= {
                f"{name}: {part}": part
                for part in url.replace("?key=", "/").split("/")[3:]
                if "canary" in part
            }
        # a repository whose server does not take what it is shown, and one that has a password in its address
        secrets |= {
            "a git password": "canary-of-a-git-password",
            "a password in a URL": "canary-in-an-address",
        }
        with GitServer(tmp_path_factory.mktemp("git"), ("x", "another")) as git:
            given = {"username": "x", "password": secrets["a git password"]}
            printed.append(post("/api/repos", {"name": "far", "url": git.url, "credentials": given}).text)
            printed.append(post("/api/repos/far/fetch", {}).text)
            inside = git.url.replace("//", f"//x:{secrets['a password in a URL']}@")
            printed.append(post("/api/repos", {"name": "inside", "url": inside}).text)
        # models that show what they were shown
        for said in ("please be refused", "please be busy", "well"):
            client.wait(client.send("llm.chat", {"content": said}), timeout_seconds=60)
        # a run that shows what it has
        task = {"image": IMAGE, "command": [PYTHON, "-S", "-c", AGENT], "network": "none", "input": "show"}
        task["resources"] = {"cpu": 1, "memoryMiB": 128, "diskMiB": 8, "pids": 16}
        event = client.wait(client.send("worker.task", task), timeout_seconds=90)
        [result] = event["outputs"]
        backwards = (
            str(client.run_log(result["metadata"]["runID"])["text"]).partition("backwards: ")[2].split()[0]
        )
        secrets["the token of a run"] = backwards[::-1].split(".")[2]
        # requests that show secrets where they do not belong
        shown = [f"/api/events/{secrets[each]}" for each in ("the refresh token", "a service token")]
        for path in ("/api/events", "/api/token", f"/api/events/{access}", *shown, "/run/result", "/nowhere"):
            for headers in (
                {"authorization": access},
                {"authorization": f"Basic {access}"},
                {"cookie": f"t={access}"},
            ):
                for content in (b'{"password": "' + first["password"].encode() + b'", ', access.encode()):
                    answer = http.post(path, content=content, params={"token": access}, headers=headers)
                    assert 400 <= answer.status_code < 500
                    printed.append(answer.text)
        until(
            lambda: sum(each["type"] == "webhook.delivery" for each in dead(http, person)) >= 2,
            "deliveries were given up",
            seconds=60,
        )
        given_up = dead(http, person)
        whole = http.get("/api/events", params={"limit": 200}, headers=person).text
    # commands with settings that are wrong: a key, an address, and none that can be read
    elsewhere = {**up.environment, "LIGHTNING_DATA": str(up.data.parent / "elsewhere")}
    commands = {"SERVICEBUS_CONNECTION": ("deadletters", "list"), "COSMOS_CONNECTION": ("users", "list")}
    for name, command in commands.items():
        key = secrets[f"a wrong {name}"] = base64.b64encode(f"canary-of-a-wrong-{name}".encode()).decode()
        wrong = up.environment[name].replace(secrets[name], key)
        nowhere = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{free_port()}", wrong)
        # the emulator of Service Bus takes any key, as that of Microsoft does
        given = (wrong if "COSMOS" in name else nowhere, f"canary;SharedAccessKey={key}")
        for connection in given:
            ran = up.run(*command, environment={**elsewhere, name: connection})
            assert ran.returncode != 0
            printed.append(ran.stdout + ran.stderr)
    return secrets, printed, given_up, whole, result


def dead(http: httpx2.Client, person: dict[str, str]) -> list[dict]:
    return http.get("/api/events", params={"limit": 200, "state": "dead"}, headers=person).json()["events"]


def test_no_secret_gets_out(up, used):
    secrets, printed, given_up, whole, result = used
    asked = json.dumps(
        [each["body"] for each in up.model.control.get("/control/requests").json()["requests"]]
    )
    up.stop()
    places = {
        "the log": up.log.read_bytes(),
        "what else was said": "\n".join(printed).encode(),
        "dead events": json.dumps(given_up).encode(),
        "all events": whole.encode(),
        "the result": json.dumps(result).encode(),
        "prompts": asked.encode(),
    }
    for folder in ("spans.db*", "emulators/monitor/*", "emulators/servicebus/*"):
        for path in up.data.glob(folder):
            places[str(path.relative_to(up.data))] = path.read_bytes()
    # Given that what was to fail did, and is told where it is to be looked for
    codes = {each["error"]["code"] for each in given_up}
    assert {"model_refused", "model_unavailable"} <= codes, codes
    assert b"marker-of-the-model" in places["dead events"]
    assert b"marker-of-the-run" in places["prompts"]
    assert b"LIGHTNING_RUN_TOKEN" in places["the result"]
    assert b"event_dead" in places["the log"]
    for place in ("spans.db", "emulators/monitor/telemetry.db"):
        assert any(
            given_up[0]["id"].encode() in content
            for name, content in places.items()
            if name.startswith(place)
        )
    # Then none of the secrets is in any of them, in any form
    found = {
        f"{name} is in {place}"
        for name, secret in secrets.items()
        for form in forms(secret)
        for place, content in places.items()
        if form in content
    }
    assert not found, "\n".join(["", *sorted(found)])
