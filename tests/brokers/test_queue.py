"""What waits for a broker that does not answer has a bound, and is told so."""

import asyncio
import threading

import pytest

from brokers.queue import MAX_WAITING, BrokerQueue
from lightning.errors import Transient
from lightning.queue import Wakeup

WAKEUP = Wakeup(user_id="anna", event_id="e", wake=0, actor="chat", delay_seconds=0.0, sent_at=0.0, trace={})


class Away:
    """A broker that takes messages and is heard of no more, until it is back."""

    def __init__(self):
        self.asked = threading.Event()
        self.back = threading.Event()
        self.taken = 0
        self.all_taken = threading.Event()

    def declare_queue(self, _name):
        pass

    def enqueue_many(self, messages):
        self.asked.set()
        assert self.back.wait(60)
        self.taken += len(messages)
        if self.taken > MAX_WAITING:
            self.all_taken.set()


@pytest.fixture
async def away():
    broker = Away()
    queue = BrokerQueue(broker, "q")
    yield broker, queue
    broker.back.set()
    await queue.close()


async def given_up(queue):
    """Hand a message over, and wait for nothing."""
    sending = asyncio.ensure_future(queue.send([WAKEUP]))
    await asyncio.sleep(0)
    sending.cancel()
    return (await asyncio.gather(sending, return_exceptions=True))[0]


async def test_what_waits_for_a_broker_that_is_away_has_a_bound(away):
    broker, queue = away
    # Given a broker that does not answer, and senders of whom none waits for long
    await given_up(queue)
    assert await asyncio.to_thread(broker.asked.wait, 10)
    for _ in range(MAX_WAITING):
        await given_up(queue)
    # When more is handed over, then whoever does so is told at once
    for _ in range(3):
        with pytest.raises(Transient, match="10,000 wait for it") as error:
            await queue.send([WAKEUP])
        assert error.value.code == "queue_unavailable"
    # And when it is back, what waited is sent, and so is what comes then
    broker.back.set()
    assert await asyncio.to_thread(broker.all_taken.wait, 10)
    await queue.send([WAKEUP])
    assert broker.taken == MAX_WAITING + 2
