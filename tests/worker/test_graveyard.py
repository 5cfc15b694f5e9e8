"""What the broker gave up becomes a dead event, where people see it."""

import time
from pathlib import Path

import pytest
from dramatiq import Message

from actors.chat import Chat
from actors.chat_answers import ChatAnswers
from actors.messenger import Messenger
from actors.step import Step
from actors.task_joins import TaskJoins
from brokers import AnyBroker, BrokerQueue, SqliteBroker
from brokers.servicebus import ServiceBusBroker
from lightning.domain.conversations import Conversations
from lightning.domain.webhooks import Webhooks
from lightning.events import Draft
from lightning.live import Notifier
from lightning.llm import open_model
from lightning.log import Dispatch, EventLog, wakeup
from lightning.outbound import Guard
from ops.emulators.servicebus import ServiceBusEmulator
from tests.chat_tools import tools_of
from tests.stores import storage_of
from worker import graveyard as graveyard_module
from worker.graveyard import Graveyard


@pytest.fixture
async def storage(tmp_path: Path):
    storage = storage_of(tmp_path)
    yield storage
    await storage.close()


@pytest.fixture
def log(storage):
    return EventLog(storage)


@pytest.fixture(params=["sqlite", "servicebus"])
def broker(request, tmp_path: Path):
    if request.param == "sqlite":
        broker = SqliteBroker(tmp_path / "queue.db", middleware=[])
        yield broker
        broker.close()
        return
    with ServiceBusEmulator() as emulator:
        broker = ServiceBusBroker(emulator.connection_string, middleware=[])
        yield broker
        broker.close()


@pytest.fixture
async def queue(broker):
    queue = BrokerQueue(broker, "lightning")
    yield queue
    await queue.close()


@pytest.fixture
async def graveyard(storage, log, broker, queue, tmp_path):
    notifier = Notifier(None, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    dispatch = Dispatch(log, queue)
    tools = tools_of(storage, log, dispatch, tmp_path)
    chat = Chat(log, open_model(provider="echo"), Conversations(storage, log), tools)
    answers = ChatAnswers(tools.turns)
    messenger = Messenger(notifier, Webhooks(storage, Guard()), TaskJoins(log, dispatch), answers)
    actors = {"chat": chat, "messenger": messenger}
    yield Graveyard(broker, Step(log, dispatch, actors, owner="clock"))
    await notifier.close()


async def chat(log: EventLog, id: str):
    [event] = await log.append("anna", [Draft(id, "llm.chat", "test", {"content": "hello"}, "now", {})])
    return event


def reject(broker: AnyBroker, queue_name: str, count: int = 1) -> None:
    """Take messages as a worker does and reject them."""
    before = len(broker.dead_letters(limit=1000))
    consumer = broker.consume(queue_name, prefetch=count, timeout=100)
    rejected, deadline = 0, time.monotonic() + 10
    while len(broker.dead_letters(limit=1000)) < before + count:
        assert time.monotonic() < deadline, "the messages are not given up"
        message = next(consumer)
        if message is not None:
            message.fail()
            consumer.nack(message)
            rejected += 1
    consumer.close()
    assert rejected == count


async def test_a_message_that_was_given_up_ends_its_event_and_somebody_is_told(log, broker, queue, graveyard):
    # Given a message that the broker gave up
    await queue.send([wakeup(await chat(log, "a"))])
    reject(broker, "lightning")
    # When the clock looks
    await graveyard.round()
    # Then its event is dead with the broker's reason, and the user's answer says so
    event = await log.get("anna", "a")
    assert (event["state"], event["error"]["code"]) == ("dead", "dead_letter")
    assert "rejected" in event["error"]["message"]
    [answer] = event["outputs"]
    assert (await log.get("anna", answer))["metadata"]["error"]["code"] == "dead_letter"
    assert broker.dead_letters() == []


async def test_a_message_of_bulk_that_was_given_up_ends_its_event(log, broker, queue, graveyard):
    # Given a user with as many events under way as go with everybody's, and the message of one more
    for number in range(20):
        await chat(log, f"a{number}")
    await queue.send([wakeup(await chat(log, "b"))])
    # When the broker gives it up, and the clock looks
    reject(broker, "lightning-bulk")
    await graveyard.round()
    # Then its event is dead, and no other
    assert (await log.get("anna", "b"))["error"]["code"] == "dead_letter"
    assert (await log.head("anna"))["counts"]["dead"] == 1
    assert broker.dead_letters() == []


async def test_a_message_of_an_event_that_is_over_is_forgotten(log, broker, queue, graveyard):
    event = await chat(log, "a")
    await queue.send([wakeup(event)])
    await log.end(await log.claim("anna", "a", 0, "worker", 10), "done")
    reject(broker, "lightning")
    await graveyard.round()
    assert (await log.get("anna", "a"))["state"] == "done"
    assert broker.dead_letters() == []


async def test_an_event_that_somebody_works_on_is_left_to_them(log, broker, queue, graveyard):
    # Given a worker that has the event, although its message was given up
    await queue.send([wakeup(await chat(log, "a"))])
    claim = await log.claim("anna", "a", 0, "worker", 10)
    reject(broker, "lightning")
    # When the clock looks, the event lives on and the letter stays
    await graveyard.round()
    assert (await log.get("anna", "a"))["state"] == "accepted"
    assert len(broker.dead_letters()) == 1
    # And when the worker is done, the letter has nothing left to say
    await log.end(claim, "done")
    await graveyard.round()
    assert (await log.get("anna", "a"))["state"] == "done"
    assert broker.dead_letters() == []


async def test_what_is_not_ours_stays_and_does_not_hide_what_is(log, broker, queue, graveyard, monkeypatch):
    # Given more dead letters of a foreign program than one round looks at
    monkeypatch.setattr(graveyard_module, "LETTERS_PER_ROUND", 2)
    for number in range(5):
        broker.enqueue(
            Message(queue_name="lightning", actor_name="foreign", args=(number,), kwargs={}, options={})
        )
    reject(broker, "lightning", 5)
    # And one of ours behind them
    await queue.send([wakeup(await chat(log, "a"))])
    reject(broker, "lightning")
    # When the clock has looked often enough
    for _ in range(3):
        await graveyard.round()
    # Then ours is dead, and the others are still there for an operator
    assert (await log.get("anna", "a"))["state"] == "dead"
    assert len(broker.dead_letters()) == 5
