"""`lightning up --emulate-azure`: services on loopback, which die, come back and keep what they had."""

import json
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from lightning.client import Client, ClientError
from ops.chaos.installation import ModelServer, until
from tests.acceptance.running_up import Up

T = TypeVar("T")

SMALL = {"cpu": 1, "memoryMiB": 128, "diskMiB": 8, "pids": 16}

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.parametrize("queue", ["azure"], indirect=True, scope="module"),
    pytest.mark.usefixtures("queue"),
]

SCRIPT = [
    {"last_contains": ["who am I"], "require": ["my name is Ada"], "reply": "You are Ada."},
    {"last_contains": ["hold"], "hold": True, "hold_after": 1, "reply": "held and released"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with ModelServer(tmp_path_factory.mktemp("model"), SCRIPT) as server:
        yield server


@pytest.fixture
def up(tmp_path, model):
    environment = {
        **model.environment(),
        "LIGHTNING_CLAIM_SECONDS": "2",
        "LIGHTNING_SWEEP_SECONDS": "1",
        "LIGHTNING_LEASE_SECONDS": "2",
        "LIGHTNING_RETRY_SECONDS": "0.1",
    }
    running = Up(tmp_path / "Ada's data", environment)  # a shell takes neither as it is
    yield running
    if running.process.poll() is None:
        running.stop()


def tried(call: Callable[[], T], what: str) -> T:
    """Ask until there is an answer that does not say that something is down."""
    answers = []

    def answered():
        try:
            answers.append(call())
        except ClientError as error:
            if not error.temporary:
                raise
        return answers

    until(answered, what, seconds=60)
    return answers[0]


def send(client: Client, key: str, content: str) -> dict:
    metadata = {"content": content, "conversationID": "c"}
    return tried(lambda: client.send("llm.chat", metadata, idempotency_key=key), f"{content} is accepted")


def answer(client: Client, event: dict) -> str:
    over = tried(lambda: client.wait(event), "it is over")
    assert over["state"] == "done", over
    [output] = over["outputs"]
    return output["metadata"]["content"]


def kill(up: Up, emulator: str) -> None:
    [pid] = up.children(f"ops.emulators.{emulator}")
    os.kill(pid, signal.SIGKILL)
    until(lambda: up.children(f"ops.emulators.{emulator}") not in ([], [pid]), "it is started again")


def listens(connection: str) -> bool:
    endpoint = urlsplit(connection.partition("Endpoint=")[2].partition(";")[0])
    with socket.socket() as client:
        return client.connect_ex((endpoint.hostname, endpoint.port)) == 0


def stopped_accepting(up: Up) -> bool:
    with Client(up.url, timeout_seconds=1) as client:
        try:
            client.health()
        except ClientError:
            return True
    return False


def assert_a_shell_gets_the_settings_by_the_line_that_is_printed(up: Up) -> None:
    [line] = re.findall(r"for other commands: (.*)", up.printed())
    ran = up.shell(f'unset COSMOS_CONNECTION; {line} && test -n "$COSMOS_CONNECTION"')
    assert ran.returncode == 0, ran.stderr


def assert_emulators_know_no_secret(up: Up) -> None:
    key = up.environment["COSMOS_CONNECTION"].partition("AccountKey=")[2].rstrip(";")
    token = up.environment["ACI_EMULATOR"].partition("AccessToken=")[2].rstrip(";")
    secrets = [key, token, up.environment["OPENAI_API_KEY"], up.environment["JWT_SIGNING_KEY"]]
    for emulator in ("cosmos", "servicebus", "arm"):
        [pid] = up.children(f"ops.emulators.{emulator}")
        seen = [Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline")]
        assert not [secret for secret in secrets if any(secret.encode() in each for each in seen)]


def test_what_was_accepted_outlives_emulators_and_restarts(up, model):
    assert_emulators_know_no_secret(up)
    assert_a_shell_gets_the_settings_by_the_line_that_is_printed(up)
    with up.client() as client:
        # Given a conversation
        assert answer(client, send(client, "1", "my name is Ada")) == "You said: my name is Ada"
        # When the store is killed, then what was said is there, and things go on
        kill(up, "cosmos")
        assert answer(client, send(client, "2", "who am I?")) == "You are Ada."
        # When the queue is killed in the middle of an answer, then there is one answer
        event = send(client, "3", "hold this")
        until(lambda: model.held() == 1, "the model holds its answer")
        kill(up, "servicebus")
        model.release()
        assert answer(client, event) == "held and released"
        assert len(client.events(root=event["id"])["events"]) == 2
        # When what runs containers is killed, then an agent runs in the next one
        kill(up, "arm")
        until(lambda: listens(up.environment["ACI_EMULATOR"]), "it listens")
        task = {"agent": "echo", "input": "grüße", "network": "none", "resources": SMALL}
        over = client.wait(client.send("worker.task", task))
        [output] = over["outputs"]
        assert output["metadata"]["status"] == "succeeded", output
        assert "grüße" in client.run_log(output["metadata"]["runID"])["text"]
        # which has told the platform so itself, from a container
        assert output["metadata"]["result"] == "grüße"
        # When all of it is told to stop in the middle of another one
        event = send(client, "4", "hold on")
        until(lambda: model.held() == 1, "the model holds its answer")
        up.process.send_signal(signal.SIGTERM)
        until(lambda: stopped_accepting(up), "it drains")
        model.release()
    assert up.stop() == 0
    # Then the services outlived the worker, which could write the answer down
    up.start()
    with up.client() as client:
        over = client.event(event["id"])
        assert (over["state"], over["attempts"]) == ("done", 1)
        # And the conversation goes on where it was
        assert answer(client, send(client, "5", "so who am I?")) == "You are Ada."
        found = client.events(conversationID="c", limit=200)["events"]
        assert [each["seq"] for each in found] == [*range(1, 7), *range(9, 13)]
    # And all of it is in order, but for a network that this machine may be unable to give to a run
    examined = up.run("doctor", "--azure", "--json")
    checks = [json.loads(line) for line in examined.stdout.splitlines()]
    wrong = {check["name"] for check in checks if check["verdict"] != "ok"}
    assert len(checks) > 10, examined.stderr
    assert wrong <= {"containers: image"}, examined.stdout
    # And the store agrees with itself
    checked = up.run("storage", "check", "--json")
    assert checked.returncode == 0, checked.stdout
    assert up.stop() == 0


def test_what_it_could_not_stand_for_is_refused(tmp_path):
    # Given settings that name real services, or another mode
    connection = "Endpoint=sb://real.servicebus.windows.net;SharedAccessKeyName=a;SharedAccessKey=canary"
    wrong = {
        "SERVICEBUS_CONNECTION": connection,
        "COSMOS_ENDPOINT": "https://real.documents.azure.com",
        "LIGHTNING_MODE": "embedded",
    }
    refused = Up(tmp_path / "data", wrong)
    # Then all of them are named, with what to do, and nothing has begun
    assert refused.stop() == 1
    printed = refused.printed()
    assert [name for name in wrong if f"  {name}: " not in printed] == []
    assert printed.count("unset ") >= len(wrong)
    assert "canary" not in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "data").exists()
