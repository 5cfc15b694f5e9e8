"""The loop of the broker on Service Bus: what fails there is heard of, and stops nothing else."""

import threading

import pytest
from dramatiq import Message
from dramatiq.errors import BrokerConnectionError

from brokers.servicebus_loop import LoopThread
from tests.contract.broker_kits import ServiceBusKit, eventually, receive


@pytest.fixture
def kit(tmp_path):
    kit = ServiceBusKit(tmp_path)
    yield kit
    kit.close()


@pytest.fixture
def loop():
    loop = LoopThread()
    yield loop
    loop.stop()


async def fail():
    raise ValueError("out of order")


def test_a_task_that_fails_is_logged(loop, caplog):
    loop.post(lambda: loop.spawn(fail()))
    eventually(lambda: "ValueError: out of order" in caplog.text)


def test_a_call_that_fails_stalls_none_behind_it(loop, caplog):
    # Given a call that keeps the loop until others wait, one of which fails
    begun, waiting, called = threading.Event(), threading.Event(), threading.Event()
    loop.post(lambda: (begun.set(), waiting.wait(10)))
    assert begun.wait(10)
    loop.post(lambda: {}["nothing"])
    loop.post(called.set)

    # When the loop goes on, then those behind it are called, and the log tells of the failure
    waiting.set()
    assert called.wait(10)
    assert "KeyError: 'nothing'" in caplog.text


def test_what_the_sdk_refuses_at_once_ends_neither_sender_nor_consumer(kit, caplog):
    # Given a connection string that the SDK does not take
    broker = kit.open(send_timeout_seconds=0.2, max_backoff_seconds=0.05)
    broker.declare_queue("default")
    namespace = broker._started().namespace
    right = namespace._connection_string
    namespace._connection_string = right + ";EntityPath=other"
    consumer = broker.consume("default", timeout=5000)
    eventually(lambda: caplog.text.count("default, receive: ") >= 2)
    with pytest.raises(BrokerConnectionError):
        broker.enqueue(Message("default", "any", (1,), {}, {}))
    eventually(lambda: caplog.text.count("default, send: ") >= 2)

    # When it is right, then both work
    namespace._connection_string, namespace._client = right, None
    broker._sending._timeout_seconds = 20.0
    broker.enqueue(Message("default", "any", (2,), {}, {}))
    assert receive(consumer).args == (2,)
    consumer.close()
