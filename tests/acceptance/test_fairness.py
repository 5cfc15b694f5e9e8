"""Nobody's slow chats hold up other people: a real worker, and a model that answers when it is told."""

import signal

import httpx2
import pytest

from lightning.client import Client
from ops.chaos.installation import Installation, ModelServer, until
from tests.receiver import receiving
from tests.stores import settings_of

pytestmark = pytest.mark.timeout(120)

THREADS = 4

#: Of one user, unless the settings say otherwise.
SHARE = 3

HELD = {"last_contains": ["slow"], "hold": True, "hold_after": 0}

#: Short, as the worker is killed once; long enough that a busy machine renews it in time.
CLAIM_SECONDS = 5

#: Of Service Bus: attempts are counted here, and one more for each lock that was lost.
LOCK_SECONDS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory, queue):
    del queue  # each has a model that nobody has asked yet
    with ModelServer(tmp_path_factory.mktemp("model"), [HELD]) as model:
        yield model


@pytest.fixture(scope="module")
def running(tmp_path_factory, model, queue):
    data = tmp_path_factory.mktemp("fairness") / "data"
    environment = {
        **settings_of(data),
        **model.environment(),
        "LIGHTNING_THREADS": str(THREADS),
        "LIGHTNING_WEBHOOK_THREADS": "2",
        "LIGHTNING_WEBHOOK_ALLOW": "127.0.0.1",
        "LIGHTNING_CLAIM_SECONDS": str(CLAIM_SECONDS),
        "LIGHTNING_SWEEP_SECONDS": "1",
        "LIGHTNING_LEASE_SECONDS": "1",
    }
    with Installation(data, environment, queue=queue) as running:
        yield running


def release_all(model: ModelServer, client: Client) -> None:
    """Let the model answer all chats of a user, who never has more at once than their share."""

    def is_over() -> bool:
        return not client.events(type="llm.chat", state="accepted", limit=1)["events"]

    while not is_over():
        until(lambda: model.held() > 0 or is_over(), "the next are with the model")
        assert model.held() <= SHARE
        model.release()


def say(client: Client, content: str, conversation: str) -> dict:
    return client.send("llm.chat", {"content": content, "conversationID": conversation})


def answer(event: dict) -> str:
    [output] = event["outputs"]
    return output["metadata"]["content"]


def test_slow_chats_of_one_user_hold_up_nobody_else(running, model):
    with running.user("anna") as anna, running.user("bert") as bert, receiving() as receiver:
        made = httpx2.post(
            f"{running.url}/api/webhooks", json={"url": f"{receiver.url}/ok/bert"}, headers=bert.headers()
        )
        assert made.status_code == 201
        # Given somebody with three times as many conversations as there are threads, two slow chats in each
        chats = [say(anna, f"slow {n}", f"c{n // 2}") for n in range(2 * 3 * THREADS)]
        until(lambda: model.held() == SHARE, "as many as one user may have are with the model")

        # When somebody else speaks, and writes a message that goes to a webhook
        spoken = say(bert, "hello", "b")
        message = bert.send("user.message", {"content": "for the webhook"})

        # Then both are answered while the others are still held
        assert answer(bert.wait(spoken, timeout_seconds=20)) == "You said: hello"
        assert bert.wait(message, timeout_seconds=20)["state"] == "done"
        until(lambda: len(receiver.to("/ok/bert")) == 2, "the webhook hears of message and answer")
        assert model.held() == SHARE

        # And when the model goes on, all get their answers in their turn, with the first attempt
        release_all(model, anna)
        done = [anna.wait(chat, timeout_seconds=20) for chat in chats]
        assert [answer(event) for event in done] == [f"You said: slow {n}" for n in range(len(chats))]
        assert {event["attempts"] for event in done} == {1}
        assert model.calls() == len(chats) + 1
        order = [event["cause"] for event in anna.events(type="llm.chat.response", limit=200)["events"]]
        places = [order.index(chat["id"]) for chat in chats]
        assert all(first < second for first, second in zip(places[::2], places[1::2], strict=True))


def test_what_waits_for_a_place_outlives_the_worker(running, model):
    with running.user("carl") as carl:
        # Given chats of which some are with the model, and the others wait for a place
        chats = [say(carl, f"slow {n}", f"c{n}") for n in range(3 * SHARE)]
        until(lambda: model.held() == SHARE, "as many as one user may have are with the model")
        # When the worker is killed
        assert running.signal("worker.0", signal.SIGKILL)
        until(lambda: model.held() == 0, "the worker is gone")
        # Then another one has all answered, with one attempt more for those that were under way
        release_all(model, carl)
        done = [carl.wait(chat, timeout_seconds=20) for chat in chats]
        assert [answer(event) for event in done] == [f"You said: slow {n}" for n in range(len(chats))]
        assert sorted(event["attempts"] for event in done) == [1] * 2 * SHARE + [2] * SHARE
