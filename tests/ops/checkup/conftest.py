"""An installation in Azure mode on emulators, one of each for all tests, which break it and mend it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from azure.cosmos import CosmosClient, DatabaseProxy, PartitionKey

from brokers import queue_names
from brokers.servicebus_queues import queue_properties
from lightning.settings import Settings
from lightning.storage.cosmos_account import PARTITION_PATH
from lightning.storage.cosmos_indexes import indexing_policy
from lightning.storage.cosmos_version import PARTITION as OF_VERSION
from lightning.storage.port import CONTAINERS
from ops.checkup import Check, examine
from ops.emulators.arm import ArmEmulator
from ops.emulators.cosmos import CosmosEmulator
from ops.emulators.monitor import MonitorEmulator
from ops.emulators.openai import ScriptedModel, serve
from ops.emulators.servicebus import EntityProperties, Fault, Options, Policy, ServiceBusEmulator
from ops.emulators.servicebus.entities.namespace import Declarations

REGISTRY = "registry.example"
IMAGE = f"{REGISTRY}/agents:1"
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/n/subnets/isolated"
WHSEC = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
MODEL_KEY = "sk-the-key"

USUAL = queue_properties(30.0)
QUEUE = EntityProperties(lock_duration=30, max_delivery_count=USUAL["MaxDeliveryCount"])


@dataclass
class Azure:
    """The emulators, and the settings that name them."""

    bus: ServiceBusEmulator
    store: CosmosEmulator
    database: DatabaseProxy
    arm: ArmEmulator
    monitor: MonitorEmulator
    environment: dict[str, str]

    def look(self, part: str, seconds: float = 30, **changes: str | None) -> dict[str, Check]:
        """Look at one part, with some settings changed; checks by name, the failed one of several."""
        environ = {**self.environment, **changes}
        settings = Settings.load({name: value for name, value in environ.items() if value is not None})

        async def looked() -> list[Check]:
            return [check async for check in examine(settings, seconds, part)]

        checks = asyncio.run(looked())
        found = {check.name: check for check in checks}
        return found | {check.name: check for check in checks if check.verdict == "failed"}

    @contextmanager
    def queue(self, name: str, properties: EntityProperties) -> Iterator[None]:
        """Have a queue declared otherwise."""

        def declare(server, as_it_is) -> None:
            [queue] = [each for each in server.container.namespace.queues() if each.name == name]
            queue.properties = as_it_is

        self.bus.call(lambda server: declare(server, properties))
        yield
        self.bus.call(lambda server: declare(server, QUEUE))

    def bus_fault(self, *arguments, **options) -> None:
        self.bus.call(lambda server: server.faults.add(Fault(*arguments, **options)))

    def messages(self) -> int:
        """How many messages there are in all queues."""
        return self.bus.call(
            lambda server: sum(len(each.messages) for each in server.container.namespace.entities())
        )

    def documents(self) -> int:
        """How many documents there are, but for the note of the version, which any program leaves."""
        query = {"query": "SELECT c.userID FROM c", "enable_cross_partition_query": True}
        containers = [self.database.get_container_client(name) for name in CONTAINERS]
        found = [document for each in containers for document in each.query_items(**query)]
        return sum(document["userID"] != OF_VERSION for document in found)

    def groups(self) -> int:
        assert self.arm.groups is not None
        return len(self.arm.groups.listed("", None)[0])


@pytest.fixture(scope="package")
def services():
    queues = dict.fromkeys(queue_names("lightning"), QUEUE)
    declared = Declarations(queues=queues, is_strict=True)
    policy = Policy(key="k" * 44)
    with (
        ServiceBusEmulator(Options(declarations=declared, policy=policy)) as bus,
        CosmosEmulator(lag_seconds=0) as store,
        ArmEmulator(
            images={IMAGE: ()},
            isolated_subnets=[SUBNET],
            registries={REGISTRY: ("pull", "right")},
            offline=True,
        ) as arm,
        MonitorEmulator() as monitor,
        serve(ScriptedModel(key=MODEL_KEY)) as model,
        CosmosClient.from_connection_string(
            store.connection_string, enable_endpoint_discovery=False
        ) as client,
    ):
        database = client.create_database("lightning")
        for name in CONTAINERS:
            make_container(database, name)
        environment = {
            "LIGHTNING_MODE": "azure",
            "JWT_SIGNING_KEY": "0" * 64,
            "LIGHTNING_SECRET_KEY": "1" * 64,
            "NOTIFY_SECRET": WHSEC,
            "SERVICEBUS_CONNECTION": bus.connection_string,
            "COSMOS_CONNECTION": store.connection_string,
            "ACI_EMULATOR": arm.connection_string,
            "ACI_RESOURCE_GROUP": "lightning",
            "ACI_ISOLATED_SUBNET": SUBNET,
            "ACI_REGISTRY_SERVER": REGISTRY,
            "ACI_REGISTRY_USERNAME": "pull",
            "ACI_REGISTRY_PASSWORD": "right",
            "WORKER_IMAGE": IMAGE,
            "APPLICATIONINSIGHTS_CONNECTION_STRING": monitor.connection_string,
            "OPENAI_BASE_URL": model,
            "OPENAI_API_KEY": MODEL_KEY,
        }
        yield Azure(bus, store, database, arm, monitor, environment)


def make_container(database: DatabaseProxy, name: str, **changes) -> None:
    wanted = {
        "partition_key": PartitionKey(PARTITION_PATH),
        "indexing_policy": indexing_policy(CONTAINERS[name]),
        "default_ttl": -1,
    }
    database.create_container(name, **{**wanted, **changes})


@pytest.fixture
def azure(services):
    """The emulators without faults; whatever was looked at, nothing is left behind."""
    yield services
    services.bus.call(lambda server: server.faults.remove())
    for each in (services.store, services.arm, services.monitor):
        each.faults.clear()
    assert (services.messages(), services.documents(), services.groups()) == (0, 0, 0)
