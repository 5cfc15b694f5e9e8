"""`lightning deadletters` and what `lightning doctor` says of the queue, on both brokers."""

import json

import pytest
from dramatiq import Message
from typer.testing import CliRunner

from brokers import declare_queues, open_broker
from lightning.settings import Settings
from ops.chaos.queues import EmulatedServiceBus, FileQueue
from ops.cli import app
from tests.contract.broker_kits import receive


@pytest.fixture(scope="module")
def servicebus():
    with EmulatedServiceBus() as queue:
        yield queue


@pytest.fixture(params=["sqlite", "servicebus"])
def environment(request, tmp_path, servicebus, monkeypatch):
    queue = FileQueue() if request.param == "sqlite" else servicebus
    environment = {"LIGHTNING_DATA": str(tmp_path / "data"), **queue.environment()}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "data").mkdir()
    return environment


@pytest.fixture
def rejected(environment) -> str:
    """A dead letter, and the name of its queue."""
    settings = Settings.load(environment)
    broker = open_broker(settings)
    declare_queues(broker, settings.servicebus_queue)
    error = "Traceback:\n  [bold]deep[/bold]\nValueError: the cause"
    broker.enqueue(Message(settings.servicebus_queue, "chat", (), {"eventID": "e"}, {"traceback": error}))
    consumer = broker.consume(settings.servicebus_queue, timeout=100)
    message = receive(consumer)
    message.fail()
    consumer.nack(message)
    consumer.close()
    broker.close()
    return settings.servicebus_queue


def run(*arguments: str, fails: bool = False) -> str:
    ran = CliRunner().invoke(app, ["deadletters", *arguments])
    if fails:
        return str(ran.exception)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.mark.usefixtures("rejected")
def test_they_are_listed_and_shown():
    [letter] = json.loads(run("list", "--json"))
    assert (letter["reason"], letter["deliveries"]) == ("rejected", 1)
    assert json.loads(letter["body"])["kwargs"] == {"eventID": "e"}
    table = run("list")
    assert letter["id"] in table
    assert "the cause" in table
    shown = run("show", letter["id"])
    assert "[bold]deep[/bold]" in shown
    assert '"eventID":"e"' in shown
    assert json.loads(run("show", letter["id"], "--json")) == letter


def test_one_is_replayed(rejected, environment):
    [letter] = json.loads(run("list", "--json"))
    assert run("replay", letter["id"]) == f"replayed {letter['id']}\n"
    assert json.loads(run("list", "--json")) == []
    assert "there is no dead letter" in run("replay", letter["id"], fails=True)
    settings = Settings.load(environment)
    broker = open_broker(settings)
    broker.declare_queue(rejected)
    assert broker.qsize(rejected) == 1
    broker.close()


@pytest.mark.usefixtures("rejected")
def test_one_is_discarded():
    [letter] = json.loads(run("list", "--json"))
    run("discard", letter["id"])
    assert json.loads(run("list", "--json")) == []
    for command in ("discard", "show"):
        assert "there is no dead letter" in run(command, letter["id"], fails=True)


def examined() -> dict[str, dict]:
    ran = CliRunner().invoke(app, ["doctor", "--json", "--url", "http://127.0.0.1:1"])
    return {finding["part"]: finding for finding in map(json.loads, ran.stdout.splitlines())}


@pytest.mark.usefixtures("rejected")
def test_the_doctor_looks_at_service_bus(environment, monkeypatch):
    if "SERVICEBUS_CONNECTION" not in environment:
        assert "queue" not in examined()
        return
    assert examined()["queue"]["detail"].endswith("1 dead letters: see lightning deadletters list")
    monkeypatch.setenv(
        "SERVICEBUS_CONNECTION",
        "Endpoint=sb://127.0.0.1:1;UseDevelopmentEmulator=true;SharedAccessKeyName=a;SharedAccessKey=b",
    )
    assert examined()["queue"]["verdict"] == "wrong"
