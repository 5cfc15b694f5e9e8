"""`lightning up` as a person and a program meet it: through HTTP, SSE and the command line."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from api.chat.installed import INSTALL, is_installed
from lightning.client import Client
from ops.chaos.installation import ModelServer, until
from ops.ports import free_port
from tests.acceptance import queues
from tests.acceptance.running_up import Up

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("queue")]

SCRIPT = [
    {"last_contains": ["who am I"], "require": ["my name is Ada"], "reply": "You are Ada."},
    {"last_contains": ["busy"], "status": 429, "headers": {"Retry-After": "1"}, "error": "slow", "times": 1},
    {"last_contains": ["busy"], "reply": "Now I have time."},
    {"last_contains": ["forbidden"], "status": 400, "error": "not that model"},
    {"last_contains": ["cut"], "reply": "half an answer", "cut_after": 1},
    {"last_contains": ["hold"], "hold": True, "hold_after": 1, "reply": "held and released", "times": 1},
    {"last_contains": ["hold"], "reply": "held and released"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory, queue):
    del queue  # each has a script that nobody has begun
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as server:
        yield server


@pytest.fixture(scope="module")
def up(tmp_path_factory, model, queue):
    environment = {
        **model.environment(),
        "LIGHTNING_CLAIM_SECONDS": "2",
        "LIGHTNING_SWEEP_SECONDS": "1",
        "LIGHTNING_RETRY_SECONDS": "0.1",
        "LIGHTNING_MAX_ATTEMPTS": "3",
    }
    chat = ["--chat"] if is_installed() and not queues.emulated_azure else []
    data = tmp_path_factory.mktemp("up") / "Ada's data"  # a shell takes neither as it is
    running = Up(data, {**environment, "LIGHTNING_CHAT_PORT": "0"}, *chat)
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def client(up):
    with up.client() as connected:
        yield connected


def say(client: Client, content: str, **metadata) -> dict:
    return client.wait(client.send("llm.chat", {"content": content, **metadata}), timeout_seconds=40)


def test_a_conversation_remembers(client):
    # Given a fact that was told earlier in the conversation
    first = say(client, "Hello, my name is Ada")
    [answer] = first["outputs"]
    # When the next message needs it; the model's script refuses to answer without it
    second = say(client, "who am I?", conversationID=answer["metadata"]["conversationID"])
    # Then the model was told
    [answer] = second["outputs"]
    assert answer["metadata"]["content"] == "You are Ada."
    assert answer["metadata"]["model"]
    assert answer["metadata"]["usage"]["total_tokens"] > 0
    assert answer["metadata"]["finishReason"] == "stop"


def test_messages_of_one_conversation_are_answered_in_turn(client):
    events = [
        client.send("llm.chat", {"content": f"message {n}", "conversationID": "turns"}) for n in range(4)
    ]
    for event in events:
        client.wait(event, timeout_seconds=40)
    found = client.events(conversationID="turns", type="llm.chat.response")["events"]
    assert [event["metadata"]["content"] for event in found] == [f"You said: message {n}" for n in range(4)]


def test_a_message_to_the_user_is_delivered(client):
    over = client.wait(client.send("user.message", {"content": "Lunch is ready"}), timeout_seconds=20)
    assert (over["state"], over["attempts"], over["outputs"]) == ("done", 1, [])


def test_a_busy_model_is_asked_again_and_the_trace_stays_one(up, client):
    # When the model answers 429 with Retry-After at first
    event = say(client, "are you busy?")
    # Then the second attempt has the answer
    assert event["outputs"][0]["metadata"]["content"] == "Now I have time."
    assert event["attempts"] == 2

    # And one trace holds the request, both attempts with their model calls, the retry and the delivery
    queue = up.queue_name

    wanted = Counter(
        [
            "POST /api/events",
            *[f"send {queue}", f"process {queue}", "chat gpt-3.5-turbo"] * 2,
            f"send {queue}-messenger",
            f"process {queue}-messenger",
        ]
    )

    def spans():
        return json.loads(up.run("trace", event["id"], "--data", str(up.data), "--json").stdout or "[]")

    def roots(found):
        ids = {span["span_id"] for span in found}
        return [span["name"] for span in found if span["parent_id"] not in ids]

    def are_stored():
        found = spans()
        return wanted <= Counter(span["name"] for span in found) and len(roots(found)) == 1

    until(are_stored, "the spans are stored")
    found = spans()
    assert len({span["trace_id"] for span in found}) == 1
    assert roots(found) == ["POST /api/events"]
    names = Counter(span["name"] for span in found)
    # the clock may send what is slow to be taken once more; then somebody looks, and the model is not asked
    assert names["chat gpt-3.5-turbo"] == 2
    assert names.keys() == wanted.keys()
    assert len({span["process"] for span in found if "send" not in span["name"]}) == 2


def test_a_refused_request_ends_in_an_error_that_the_user_sees(client):
    event = say(client, "something forbidden")
    assert event["state"] == "dead"
    assert event["error"]["code"] == "model_refused"
    [answer] = event["outputs"]
    assert answer["type"] == "llm.chat.response"
    assert "not that model" in answer["metadata"]["error"]["message"]


def test_a_cut_stream_ends_in_an_error_that_the_user_sees(client):
    event = say(client, "cut me off")
    assert event["state"] == "dead"
    assert event["attempts"] == 3
    assert event["outputs"][0]["metadata"]["error"]["code"] == "model_stream_cut"


def test_the_stream_resumes_where_it_was_left(client):
    # Given some events
    say(client, "for the stream")
    every = client.events(limit=200)["events"]
    # When a client comes back behind each of them
    for place in range(len(every)):
        stream = client.stream(after=place, timeout_seconds=10)
        assert next(stream)["seq"] == place + 1
        stream.close()
    # And when it reads from the beginning
    stream = client.stream(after=0, timeout_seconds=10)
    assert [next(stream)["id"] for _ in every] == [event["id"] for event in every]
    stream.close()


def test_an_open_stream_shows_the_answer(client):
    seen = []
    head = client.events(limit=200)["events"][-1]["seq"]

    def follow():
        for event in client.stream(after=head, timeout_seconds=20):
            seen.append(event)
            if event["type"] == "llm.chat.response":
                return

    reader = threading.Thread(target=follow)
    reader.start()
    event = client.send("llm.chat", {"content": "are you there?"})
    reader.join(30)
    assert [(each["type"], each["root"]) for each in seen] == [
        ("llm.chat", event["id"]),
        ("llm.chat.response", event["id"]),
    ]


def test_one_answer_after_the_worker_is_killed_in_the_middle_of_it(up, client, model):
    # Given a worker in the middle of an answer
    event = client.send("llm.chat", {"content": "hold it"})
    until(lambda: model.held() == 1, "the model holds its answer")
    # When it is killed
    [worker] = up.children("worker.main")
    os.kill(worker, signal.SIGKILL)
    # Then a new one answers, once
    over = client.wait(event, timeout_seconds=40)
    assert over["state"] == "done"
    assert [output["metadata"]["content"] for output in over["outputs"]] == ["held and released"]
    model.release()
    assert len(client.events(root=event["id"])["events"]) == 2


def test_an_event_survives_the_loss_of_the_queue(up, client):
    up.lose_queue()
    assert say(client, "after the queue was lost")["state"] == "done"


def test_the_command_line_sends_and_lists_and_draws(up):
    where = ["--url", up.url, "--data", str(up.data)]
    sent = up.run("send", *where, "from the command line")
    assert sent.returncode == 0, sent.stderr
    assert "202 accepted" in sent.stdout
    assert "You said: from the command line" in sent.stdout
    assert "done" in sent.stdout
    listed = up.run("events", *where, "--type", "llm.chat", "--state", "dead", "--json")
    assert {event["state"] for event in json.loads(listed.stdout)["events"]} == {"dead"}
    missing = up.run("trace", "no-such-event", "--data", str(up.data))
    assert missing.returncode == 1
    assert "no trace" in missing.stderr
    assert "Traceback" not in missing.stderr
    checked = up.run("doctor", *where)
    assert checked.returncode == 0, checked.stdout
    assert "ingress" in checked.stdout


def test_the_pasted_line_works_as_printed(up):
    line = next(line.strip() for line in up.printed().splitlines() if " send " in line)
    ran = up.shell(line)
    assert "202 accepted" in ran.stdout, ran.stderr


def test_keys_and_data_are_for_their_owner_only(up, client):
    client.send("user.message", {"content": "for the spans"})
    until((up.data / "spans.db").exists, "spans are stored")
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700
    kept = [file for file in up.data.rglob("*") if file.suffix in {".db", ".json", ".key", ".env"}]
    assert {"keys.json", "first_user.json", "spans.db"} <= {file.name for file in kept}
    assert [file.name for file in kept if stat.S_IMODE(file.stat().st_mode) != 0o600] == []


def test_no_secret_is_in_what_is_written_down(up, client):
    say(client, "leave a trace")
    keys = json.loads((up.data / "keys.json").read_text())
    secrets = [*keys.values(), "sk-of-a-scripted-model", client.headers()["authorization"].split()[1]]
    for file in [up.log, *up.data.rglob("*.db*")]:
        if file.is_file():
            content = file.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], file.name


def test_a_second_one_on_the_same_port_says_what_to_do(up, tmp_path):
    second = up.run("up", "--port", str(up.port), "--data", str(tmp_path / "other"))
    assert second.returncode == 1
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [(("--data", "pyproject.toml"), "--data"), (("--host", "192.0.2.1"), "--host")],
    ids=["data", "host"],
)
def test_a_place_or_host_that_is_none_says_what_to_do(up, tmp_path, arguments, remedy):
    refused = up.run("up", "--port", "0", "--data", str(tmp_path / "other"), *arguments)
    assert refused.returncode == 1
    assert remedy in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_chat_at_the_port_of_the_ingress_is_refused(up, tmp_path):
    if not is_installed():
        pytest.skip(INSTALL)
    # When the chat is to listen where the ingress will
    port = str(free_port())
    environment = {**up.environment, "LIGHTNING_CHAT_PORT": port}
    place = ["--port", port, "--data", str(tmp_path / "other")]
    ran = up.run("up", "--chat", *place, environment=environment)
    # Then one line says so, and nothing was started
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert "LIGHTNING_CHAT_PORT" in ran.stderr
    assert "ingress" in ran.stderr


def none_is_left(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.fixture
def living(tmp_path):
    """Start one for this test alone, which ends with the test whatever becomes of that."""
    running = Up(tmp_path / "data", {}, "--workers", "2")
    yield running
    running.stop(signal.SIGKILL)


def test_what_was_said_is_there_when_it_is_started_again_however_it_ended(living):
    # Given something that was said
    with living.client() as client:
        say(client, "my name is Ada", conversationID="c")
        until(lambda: not client.events(state="accepted")["events"], "the answer is delivered, too")
        before = client.events(limit=200)["events"]
    pids = living.processes()
    assert len(pids) == 4 + 3 * living.emulated
    # When it is told to stop, then it drains and exits with success, and its processes with it
    assert living.stop() == 0
    assert none_is_left(pids)
    # And when it is started again, then what was said is there
    living.start()
    with living.client() as client:
        assert client.events(limit=200)["events"] == before
        say(client, "who am I?", conversationID="c")
        said = client.events(conversationID="c", type="llm.chat")["events"]
    assert [event["metadata"]["content"] for event in said] == ["my name is Ada", "who am I?"]
    # And Ctrl-C ends it in the same way
    pids = living.processes()
    assert living.stop(signal.SIGINT) == 0
    assert none_is_left(pids)
    # And when it is killed, then its processes end with it
    living.start()
    pids = living.processes()
    living.stop(signal.SIGKILL)
    until(lambda: none_is_left(pids), "they end with it")


def test_an_installation_without_the_file_of_its_first_user_says_how_to_get_in(living):
    # Given one that was restored without the password of its first user
    living.stop()
    (living.data / "first_user.json").unlink()
    # When it is started
    living.start()
    # Then no password is named, but the command that sets one, which works as it is printed
    assert not (living.data / "first_user.json").exists()
    assert "first_user.json" not in living.printed()
    [command] = re.findall(r"`([^`]* users password first [^`]*)`", living.printed())
    [log_in] = re.findall(r"`([^`]* login --user first [^`]*)`", living.printed())
    password = living.shell(command).stdout.split()[-1]
    assert living.shell(f"echo {password} | {log_in} --password-stdin").stdout == "first is logged in\n"
    # And the line to paste works then
    line = next(line.strip() for line in living.printed().splitlines() if " send " in line)
    assert "202 accepted" in living.shell(line).stdout


def test_the_chat_is_one_more_process_and_holds_no_key_of_the_platform(up):
    found = re.search(r"chat +(http://\S+)", up.printed())
    if found is None:
        pytest.skip(INSTALL)
    with httpx2.Client(trust_env=False) as http:
        until(lambda: answers(http, found[1]), "the chat is up", seconds=60)
    [pid] = up.children("api.chat.main")
    environ = Path(f"/proc/{pid}/environ").read_bytes()
    keys = json.loads((up.data / "keys.json").read_text())
    assert keys.pop("CHAINLIT_AUTH_SECRET").encode() in environ
    assert not [name for name, key in keys.items() if key.encode() in environ]
    assert b"sk-of-a-scripted-model" not in environ


def answers(http: httpx2.Client, url: str) -> bool:
    try:
        return http.get(url).is_redirect
    except httpx2.TransportError:
        return False


def test_without_chainlit_it_is_said_what_to_install(tmp_path):
    arguments = ["lightning", "up", "--chat", "--port", "0", "--data", str(tmp_path / "data")]
    without = f"import sys; sys.modules['chainlit'] = None; sys.argv = {arguments}"
    program = f"{without}; from ops.cli import main; main()"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 1
    assert "make chat" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_wrong_settings_are_one_message(up):
    ran = up.run("up", environment={**up.environment, "LIGHTNING_THREADS": "many", "LIGHTNING_TREADS": "1"})
    assert ran.returncode == 1
    assert "LIGHTNING_THREADS" in ran.stderr
    assert "LIGHTNING_TREADS" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_part_of_azure_that_lacks_a_setting_is_refused_and_nothing_falls_back(up, tmp_path):
    without = {name: value for name, value in up.environment.items() if not name.startswith("ACI_")}
    ran = up.run("up", "--data", str(tmp_path / "data"), environment={**without, "LIGHTNING_RUNNER": "aci"})
    assert ran.returncode == 1
    assert "ACI_SUBSCRIPTION: it is required by LIGHTNING_RUNNER=aci" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "data").exists()
