"""An emulated namespace a module, and the SDK beside it."""

import itertools
import time
from dataclasses import dataclass, field

import httpx2
import pytest
from azure.servicebus import ServiceBusClient, ServiceBusMessage, ServiceBusReceivedMessage

from ops.emulators.servicebus import (
    Declarations,
    EntityProperties,
    Options,
    ServiceBusEmulator,
    SubscriptionDeclaration,
)
from tests.ops.servicebus.sdk import sync_client

BOUND_SECONDS = 10

DECLARED = Declarations(
    queues={
        "short-lock": EntityProperties(lock_duration=1),
        "renewed": EntityProperties(lock_duration=2),
        "two-deliveries": EntityProperties(max_delivery_count=2),
        "short-life": EntityProperties(time_to_live=1.5, dead_letters_expired=True),
        "dropping": EntityProperties(),
        "once": EntityProperties(duplicate_window=60),
    },
    topics={
        "news": (
            EntityProperties(),
            (
                SubscriptionDeclaration("one", EntityProperties()),
                SubscriptionDeclaration("two", EntityProperties()),
            ),
        )
    },
)


def wait_until(condition) -> None:
    """Wait until a check holds, with a bound."""
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


@dataclass
class Line:
    """Senders and receivers of one client, opened once each."""

    client: ServiceBusClient
    _open: dict = field(default_factory=dict)

    def sender(self, name: str):
        return self._once(("sender", name), lambda: self.client.get_queue_sender(name))

    def receiver(self, name: str, **options):
        key = ("receiver", name, *sorted(options.items()))
        return self._once(key, lambda: self.client.get_queue_receiver(name, **options))

    def send(self, name: str, *bodies: str, **options) -> None:
        messages = [ServiceBusMessage(body, **options) for body in bodies]
        self.sender(name).send_messages(messages[0] if len(messages) == 1 else messages)

    def receive(self, name: str, count: int = 1, **options) -> list[ServiceBusReceivedMessage]:
        """Receive exactly so many messages."""
        receiver, got = self.receiver(name, **options), []
        deadline = time.monotonic() + BOUND_SECONDS
        while len(got) < count and time.monotonic() < deadline:
            got += receiver.receive_messages(count - len(got), max_wait_time=BOUND_SECONDS)
        assert len(got) == count
        return got

    def receive_one(self, name: str, **options) -> ServiceBusReceivedMessage:
        return self.receive(name, **options)[0]

    def is_empty(self, name: str) -> bool:
        """Look without taking."""
        return self.receiver(name).peek_messages(1, sequence_number=1) == []

    def _once(self, key, make):
        if key not in self._open:
            self._open[key] = make()
        return self._open[key]


@pytest.fixture(scope="module")
def emulator():
    options = Options(control_port=0, declarations=DECLARED)
    with ServiceBusEmulator(options) as running:
        yield running


@pytest.fixture(scope="module")
def module_line(emulator):
    with sync_client(emulator.connection_string) as client:
        yield Line(client)


@pytest.fixture
def line(emulator, module_line):
    """The SDK beside a namespace without messages and faults."""
    yield module_line
    emulator.call(forget)


def forget(server) -> None:
    server.faults.remove()
    for entity in server.container.namespace.entities():
        if hasattr(entity, "clear"):
            entity.clear()


@pytest.fixture(scope="module")
def control(emulator):
    with httpx2.Client(base_url=emulator.control_url, timeout=BOUND_SECONDS) as client:
        yield client


_numbers = itertools.count()


@pytest.fixture
def queue() -> str:
    """A name that no other test uses."""
    return f"queue-{next(_numbers)}"
