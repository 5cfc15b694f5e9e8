"""The chat actor passes its answer on while the model writes it."""

import asyncio
import json
import time

import pytest

from actors.chat import Chat
from actors.outcome import Done
from actors.step import Step
from lightning.domain.conversations import Conversations
from lightning.errors import Transient
from lightning.events import TYPES, Draft
from lightning.ids import derived_id
from lightning.live import Notifier
from lightning.llm import Completion, LanguageModel, TextDelta
from lightning.log import Dispatch, EventLog, wakeup
from tests.chat_tools import tools_of
from tests.lightning.live.test_notify import SECRET, receiving
from tests.memory_queue import MemoryQueue
from tests.stores import storage_of

PIECES = ["Ü", "ber 🌊", " und", " unter"]


class WritingModel(LanguageModel):
    """Writes piece by piece; stops in the middle as often as it is told to."""

    provider = "test"
    model = "test"

    def __init__(self):
        self.failures = 0
        self.seconds = 0.0  #: before the last piece
        self.slept = asyncio.Event()

    async def stream(self, messages, *, model=None, tools=()):
        for number, text in enumerate(PIECES):
            if number == 3:
                await asyncio.sleep(self.seconds)
                self.slept.set()
            if number == 2 and self.failures:
                self.failures -= 1
                raise Transient("cut", retry_after=0)
            yield TextDelta(text)
        yield Completion("".join(PIECES), "test", None, "stop")

    async def close(self) -> None:
        pass


@pytest.fixture
def model():
    return WritingModel()


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def storage(tmp_path):
    store = storage_of(tmp_path)
    yield store
    await store.close()


@pytest.fixture
def log(storage):
    return EventLog(storage)


@pytest.fixture
async def chat(storage, log, model, receiver, tmp_path):
    notifier = Notifier(receiver.url, SECRET)
    tools = tools_of(storage, log, Dispatch(log, MemoryQueue()), tmp_path)
    yield Chat(log, model, Conversations(storage, log), tools, notifier=notifier)
    receiver.open.set()
    await notifier.close()


async def asked(log):
    [event] = await log.append("anna", [Draft("e", "llm.chat", "test", {"content": "Hello"}, "now", {})])
    return event


def deltas(receiver) -> list[dict]:
    return [one for _, body in receiver.requests for one in json.loads(body)["deltas"].get("anna", [])]


def text_of(deltas: list[dict]) -> str:
    """Put pieces together, whose offsets count code points."""
    text = ""
    for delta in deltas:
        assert delta["offset"] == len(text)
        text += delta["text"]
    return text


async def test_the_pieces_are_the_answer(log, model, receiver, chat):
    # When a message is answered; a model takes longer than a post
    model.seconds = 0.5
    await Step(log, Dispatch(log, MemoryQueue()), {"chat": chat}, owner="me").run(wakeup(await asked(log)))
    # Then its pieces were told before the response was recorded
    told = deltas(receiver)
    response = await log.get("anna", derived_id("e", "response"))
    assert text_of(told) == response["metadata"]["content"] == "".join(PIECES)
    assert {(one["event"], one["conversationID"], one["attempt"]) for one in told} == {("e", "e", 1)}


async def test_another_attempt_begins_anew(log, model, receiver, chat):
    # Given a model that stops in the middle once
    model.failures, model.seconds = 1, 0.5
    step = Step(log, Dispatch(log, MemoryQueue()), {"chat": chat}, owner="me")
    await step.run(wakeup(await asked(log)))
    # When it is asked again
    await step.run(wakeup(await log.get("anna", "e")))
    # Then the second attempt has a number of its own and is whole
    told = deltas(receiver)
    assert {one["attempt"] for one in told} >= {2}
    assert text_of([one for one in told if one["attempt"] == 2]) == "".join(PIECES)
    assert "".join(PIECES).startswith("".join(one["text"] for one in told if one["attempt"] == 1))


async def test_a_replay_goes_on_counting(log, model, receiver, chat):
    # Given a chat that stopped in the middle until it was given up
    model.failures, model.seconds = 2, 0.5
    queue = MemoryQueue()
    step = Step(log, Dispatch(log, queue), {"chat": chat}, owner="me", max_attempts=2)
    event = await asked(log)
    for _ in range(2):
        await step.run(wakeup(await log.get("anna", "e")))
    failure = await log.get("anna", derived_id("e", "failure"))
    # When it is replayed
    await Dispatch(log, queue).replay("anna", event["id"])
    await step.run(wakeup(await log.get("anna", "e")))
    # Then its attempts begin anew, and what clients compare does not
    event = await log.get("anna", "e")
    response = await log.get("anna", derived_id("e", "response"))
    assert (event["state"], event["attempts"]) == ("done", 1)
    assert (failure["metadata"]["attempt"], response["metadata"]["attempt"]) == (2, 3)
    numbers = [one["attempt"] for one in deltas(receiver)]
    assert numbers == sorted(numbers)
    assert numbers[-1] == 3


async def test_the_response_waits_for_its_last_piece(log, model, receiver, chat):
    # Given an ingress that takes its time just when the last piece of a long answer comes
    model.seconds = 2.0
    event = await asked(log)
    metadata = TYPES["llm.chat"].metadata.model_validate({"content": "x"})
    handling = asyncio.create_task(chat.handle(event, metadata))
    await receiver.received(1)
    await asyncio.sleep(1)
    receiver.open.clear()
    number = len(receiver.requests)
    # When that piece is under way
    await model.slept.wait()
    await receiver.received(number + 1)
    # Then the answer, which would supersede it, is held back until it has arrived
    assert not handling.done()
    receiver.open.set()
    await handling
    assert text_of(deltas(receiver)) == "".join(PIECES)


async def test_an_ingress_that_hangs_hardly_delays_the_answer(log, model, receiver, chat):
    # Given an ingress that takes connections and does not answer
    receiver.open.clear()
    model.seconds = 0.2
    begun = time.monotonic()
    outcome = await chat.handle(await asked(log), TYPES["llm.chat"].metadata.model_validate({"content": "x"}))
    # Then the answer is there, a tenth of its own time later
    assert isinstance(outcome, Done)
    assert time.monotonic() - begun < 2
