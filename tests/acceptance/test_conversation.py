"""What a person does to a conversation while real workers answer it."""

import pytest

from lightning.client import Client
from ops.chaos.installation import Installation, ModelServer, until
from tests.stores import settings_of

pytestmark = pytest.mark.timeout(120)

#: The answer to the first message never comes by itself.
HELD = {"last_contains": ["one"], "hold": True, "reply": "too late"}

REFUSED_ONCE = {"last_contains": ["bad"], "status": 400, "error": "no", "times": 1}


@pytest.fixture
def model(tmp_path):
    with ModelServer(tmp_path, [HELD, REFUSED_ONCE]) as model:
        yield model


@pytest.fixture
def running(tmp_path, model, queue):
    environment = {**model.environment(), "LIGHTNING_CLAIM_SECONDS": "600", "LIGHTNING_TESTING": "1"}
    environment |= settings_of(tmp_path / "data")
    with Installation(tmp_path / "data", environment, queue=queue) as running:
        yield running


@pytest.fixture
def client(running):
    with running.user() as client:
        yield client


def say(client: Client, content: str, **metadata) -> dict:
    return client.send("llm.chat", {"content": content, "conversationID": "c", **metadata})


def answers(event: dict) -> list[str]:
    return [output["metadata"]["content"] for output in event["outputs"]]


def test_cancelling_hangs_up_on_the_model_and_lets_the_next_speak(client, model):
    # Given a message that the model is answering, and one that waits for it
    first, second = say(client, "one"), say(client, "two")
    until(lambda: model.held() == 1, "the model is asked")
    # When the first is cancelled
    cancelled = client.cancel(first["id"])
    # Then the worker hangs up on the model, long before its claim runs out
    assert cancelled["state"] == "cancelled"
    until(lambda: model.held() == 0, "the worker hangs up")
    # And the second is answered, and the first has no answer
    assert answers(client.wait(second)) == ["You said: two"]
    assert client.event(first["id"])["outputs"] == []
    assert model.calls() == 2


def test_a_message_that_interrupts_is_answered_at_once(client, model):
    first = say(client, "one")
    until(lambda: model.held() == 1, "the model is asked")
    second = say(client, "stop that", whenBusy="interrupt")
    # Then it does not wait for the model's answer to the first
    assert answers(client.wait(second)) == ["You said: stop that"]
    until(lambda: model.held() == 0, "the worker hangs up")
    shown = client.event(first["id"])
    assert (shown["state"], shown["error"]["code"], shown["outputs"]) == ("cancelled", "interrupted", [])


def test_a_deleted_conversation_is_forgotten(client, model):
    # Given a conversation with an answer, and a message that is being answered
    client.wait(say(client, "secret"))
    say(client, "one")
    until(lambda: model.held() == 1, "the model is asked")
    # When it is deleted
    event = client.delete_conversation("c")
    # Then nothing that was said is left in the log, and nothing is still under way
    assert client.wait(event)["state"] == "done"
    until(lambda: model.held() == 0, "the worker hangs up")
    events = client.events(limit=200)["events"]
    assert "secret" not in str(events)
    assert {each["state"] for each in events} == {"done", "cancelled"}
    assert [each["seq"] for each in events] == list(range(1, len(events) + 1))
    # And the name is free for another
    assert answers(client.wait(say(client, "hello"))) == ["You said: hello"]


def test_what_died_is_replayed(client):
    # Given a message that the model refused
    event = client.wait(say(client, "bad"))
    assert event["state"] == "dead"
    # When it is replayed, and the model has changed its mind
    assert client.replay(event["id"])["id"] == event["id"]
    again = client.wait(event)
    # Then it has an answer
    assert (again["state"], answers(again)) == ("done", ["You said: bad"])
