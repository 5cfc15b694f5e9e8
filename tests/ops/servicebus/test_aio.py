"""The asyncio face of the SDK: the same server, many operations at a time."""

import asyncio
import time

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusServerBusyError

from ops.emulators.servicebus import Fault
from tests.ops.servicebus.sdk import aio_client


@pytest.fixture
async def client(emulator):
    async with aio_client(emulator.connection_string) as client:
        yield client


async def test_messages_are_sent_received_and_settled_together(emulator, client, queue):
    # Given 60 messages that are sent at once
    async with client.get_queue_sender(queue) as sender:
        await asyncio.gather(*(sender.send_messages(ServiceBusMessage(f"{n}")) for n in range(60)))
    # When they are received and settled at once, in four ways
    async with client.get_queue_receiver(queue) as receiver:
        got = []
        while len(got) < 60:
            got += await receiver.receive_messages(60 - len(got), max_wait_time=5)
        assert sorted(int(str(message)) for message in got) == list(range(60))
        await asyncio.gather(
            *(receiver.complete_message(message) for message in got[:50]),
            *(receiver.dead_letter_message(message, reason="r") for message in got[50:55]),
            *(receiver.defer_message(message) for message in got[55:59]),
            receiver.abandon_message(got[59]),
        )
        # Then each is where it belongs
        left = await receiver.peek_messages(10, sequence_number=1)
        assert len(left) == 5
        deferred = await receiver.receive_deferred_messages(
            [message.sequence_number for message in got[55:59]]
        )
        assert len(deferred) == 4
    async with client.get_queue_receiver(queue, sub_queue="deadletter") as dead:
        assert len(await dead.peek_messages(10)) == 5


async def test_latency_delays_and_does_not_serialise(emulator, client, queue):
    # Given 50 ms each way
    async with client.get_queue_sender(queue) as sender:
        await sender.send_messages(ServiceBusMessage("first"))
        emulator.call(lambda server: set_latency(server, 0.05))
        try:
            # When 40 messages are under way at once
            begun = time.monotonic()
            await asyncio.gather(*(sender.send_messages(ServiceBusMessage("x")) for _ in range(40)))
            spent = time.monotonic() - begun
        finally:
            emulator.call(lambda server: set_latency(server, 0))
    # Then they take one round trip or a few, never one each
    assert 0.1 <= spent < 40 * 0.1


def set_latency(server, seconds: float) -> None:
    server.latency.inward = server.latency.outward = seconds


async def test_a_fault_is_seen(emulator, client, queue):
    async with client.get_queue_sender(queue) as sender:
        emulator.call(lambda server: server.faults.add(Fault("server-busy", "send", queue)))
        with pytest.raises(ServiceBusServerBusyError):
            await sender.send_messages(ServiceBusMessage("x"))
        await sender.send_messages(ServiceBusMessage("y"))


@pytest.mark.parametrize("kind", ["forced-close", "drop"])
async def test_a_broken_connection_is_made_anew(emulator, queue, kind):
    async with aio_client(emulator.connection_string, retry_total=3, retry_backoff_factor=0.01) as client:
        sender = client.get_queue_sender(queue)
        await sender.send_messages(ServiceBusMessage("1"))
        emulator.call(lambda server: server.faults.add(Fault(kind, "send", queue)))
        await sender.send_messages(ServiceBusMessage("2"))
        receiver = client.get_queue_receiver(queue)
        assert [str(message) for message in await receiver.peek_messages(5)] == ["1", "2"]
