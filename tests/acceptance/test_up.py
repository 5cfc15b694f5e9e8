"""`lightning up` as a person and a program meet it: through HTTP, SSE and the command line."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lightning.client import Client
from ops.chaos.installation import ModelServer, free_port, until

LIGHTNING = str(Path(sys.executable).with_name("lightning"))

pytestmark = pytest.mark.timeout(120)

SCRIPT = [
    {"last_contains": ["who am I"], "require": ["my name is Ada"], "reply": "You are Ada."},
    {"last_contains": ["busy"], "status": 429, "headers": {"Retry-After": "1"}, "error": "slow", "times": 1},
    {"last_contains": ["busy"], "reply": "Now I have time."},
    {"last_contains": ["forbidden"], "status": 400, "error": "not that model"},
    {"last_contains": ["cut"], "reply": "half an answer", "cut_after": 1},
    {"last_contains": ["hold"], "hold": True, "hold_after": 1, "reply": "held and released", "times": 1},
    {"last_contains": ["hold"], "reply": "held and released"},
]


class Up:
    """A running `lightning up` and the first user's client."""

    def __init__(self, data: Path, environment: dict[str, str], *arguments: str):
        self.data = data
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LIGHTNING_")}
        self.environment = {**kept, **environment}
        self.log = (data.parent / f"{data.name}.log").open("w+")
        self.process = subprocess.Popen(
            [LIGHTNING, "up", "--port", str(self.port), "--data", str(data), *arguments],
            env=self.environment,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        until(lambda: "first user" in self.printed() or self.process.poll() is not None, "it is up")

    def printed(self) -> str:
        return Path(self.log.name).read_text()

    def client(self) -> Client:
        kept = json.loads((self.data / "first_user.json").read_text())
        client = Client(self.url)
        client.log_in(kept["username"], kept["password"])
        return client

    def run(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [LIGHTNING, *arguments], env=environment or self.environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def children(self, module: str) -> list[int]:
        """Find the processes of this installation that run a module."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().split(b"\0")
                status = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if module.encode() in command and int(status[1]) == self.process.pid:
                found.append(int(folder.name))
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(40)
        self.log.close()
        return status


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as server:
        yield server


@pytest.fixture(scope="module")
def up(tmp_path_factory, model):
    environment = {
        **model.environment(),
        "LIGHTNING_CLAIM_SECONDS": "2",
        "LIGHTNING_SWEEP_SECONDS": "1",
        "LIGHTNING_RETRY_SECONDS": "0.1",
        "LIGHTNING_MAX_ATTEMPTS": "3",
    }
    running = Up(tmp_path_factory.mktemp("up") / "data", environment)
    yield running
    assert running.stop() == 0


@pytest.fixture
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
    def spans():
        found = json.loads(up.run("trace", event["id"], "--data", str(up.data), "--json").stdout or "[]")
        return found if len([s for s in found if s["name"] == "process lightning-messenger"]) == 1 else []

    until(lambda: bool(spans()), "the spans are stored")
    found = spans()
    assert len({span["trace_id"] for span in found}) == 1
    names = sorted(span["name"] for span in found)
    assert names == sorted(
        [
            "POST /api/events",
            *["send lightning", "process lightning", "chat gpt-3.5-turbo"] * 2,
            "send lightning-messenger",
            "process lightning-messenger",
        ]
    )
    by_id = {span["span_id"]: span for span in found}
    assert [span["name"] for span in found if span["parent_id"] not in by_id] == ["POST /api/events"]
    assert len({span["process"] for span in found}) == 2


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
    for file in up.data.glob("queue.db*"):
        if file.is_file():
            file.unlink()
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
    ran = subprocess.run(
        ["bash", "-c", line], env=up.environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert "202 accepted" in ran.stdout, ran.stderr


def test_keys_and_data_are_for_their_owner_only(up):
    assert stat.S_IMODE(up.data.stat().st_mode) == 0o700
    for name in ("keys.json", "first_user.json", "log.db"):
        assert stat.S_IMODE((up.data / name).stat().st_mode) == 0o600, name


def test_no_secret_is_in_what_is_written_down(up, client):
    say(client, "leave a trace")
    keys = json.loads((up.data / "keys.json").read_text())
    secrets = [*keys.values(), "sk-of-a-scripted-model", client.headers()["authorization"].split()[1]]
    for file in [Path(up.log.name), *up.data.glob("*.db*")]:
        if file.is_file():
            content = file.read_bytes()
            assert not [secret for secret in secrets if secret.encode() in content], file.name


def test_a_second_one_on_the_same_port_says_what_to_do(up, tmp_path):
    second = up.run("up", "--port", str(up.port), "--data", str(tmp_path / "other"))
    assert second.returncode == 1
    assert "--port" in second.stderr
    assert "Traceback" not in second.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_drains_and_exits_with_success(tmp_path, number):
    running = Up(tmp_path / "data", {}, "--workers", "2")
    pids = [pid for module in ("api.main", "worker.main", "worker.clock") for pid in running.children(module)]
    assert len(pids) == 4
    assert running.stop(number) == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_its_processes_end_when_it_is_killed(tmp_path):
    running = Up(tmp_path / "data", {})
    pids = [pid for module in ("api.main", "worker.main", "worker.clock") for pid in running.children(module)]
    running.stop(signal.SIGKILL)
    until(lambda: not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "they end with it")


def test_wrong_settings_are_one_message(up):
    ran = up.run("up", environment={**up.environment, "LIGHTNING_THREADS": "many", "LIGHTNING_TREADS": "1"})
    assert ran.returncode == 1
    assert "LIGHTNING_THREADS" in ran.stderr
    assert "LIGHTNING_TREADS" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("name", "value", "needed"),
    [
        ("LIGHTNING_STORAGE", "cosmos", {"COSMOS_CONNECTION": "AccountEndpoint=https://x;AccountKey=y"}),
        ("LIGHTNING_BROKER", "servicebus", {"SERVICEBUS_CONNECTION": "Endpoint=sb://x"}),
    ],
)
def test_a_part_that_is_not_built_is_refused_and_nothing_falls_back(up, tmp_path, name, value, needed):
    ran = up.run(
        "up", "--data", str(tmp_path / "data"), environment={**up.environment, name: value, **needed}
    )
    assert ran.returncode == 1
    assert f"{name}: this version has no {value}" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (tmp_path / "data").exists()
