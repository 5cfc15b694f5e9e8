"""An emulated subscription, and the real SDK's clients of it."""

import itertools
import time
from contextlib import contextmanager

import pytest
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import AzureKeyCredentialPolicy
from azure.mgmt.containerinstance import ContainerInstanceManagementClient
from azure.mgmt.containerinstance.models import (
    Container,
    ContainerGroup,
    ContainerGroupSubnetId,
    ResourceRequests,
    ResourceRequirements,
)

from ops.emulators.arm import ArmEmulator

GROUP = "lightning"
IMAGE = "registry.example/agents:1"
SUBNET = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/isolated"
PATIENCE_SECONDS = 45

NAMES = itertools.count()


class NoCredential:
    """The policy of authentication holds the token."""

    def get_token(self, *scopes, **options):
        return AccessToken("none", 0)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


@contextmanager
def client_of(emulator: ArmEmulator, token: str | None = None, subscription: str | None = None):
    key = AzureKeyCredential(token or emulator.token)
    with ContainerInstanceManagementClient(
        NoCredential(),
        subscription or emulator.subscription,
        emulator.endpoint,
        authentication_policy=AzureKeyCredentialPolicy(key, "Authorization", prefix="Bearer"),
        retry_total=0,
    ) as client:
        yield client


def new_name() -> str:
    return f"g{next(NAMES)}"


def group(script: str = "true", **changes) -> ContainerGroup:
    """Define a group whose container runs a shell script without network."""
    container = {
        "name": "run",
        "image": IMAGE,
        "command": ["sh", "-c", script],
        "resources": ResourceRequirements(requests=ResourceRequests(cpu=0.5, memory_in_gb=0.2)),
    }
    container |= {name: changes.pop(name) for name in list(changes) if name in CONTAINER_FIELDS}
    values = {
        "location": "centralindia",
        "os_type": "Linux",
        "restart_policy": "Never",
        "subnet_ids": [ContainerGroupSubnetId(id=SUBNET)],
        "containers": [Container(**container)],
    }
    return ContainerGroup(**(values | changes))


CONTAINER_FIELDS = {"image", "command", "environment_variables", "resources", "volume_mounts"}


def create(client, definition: ContainerGroup, name: str | None = None) -> str:
    """Have a group created, without waiting for it."""
    name = name or new_name()
    client.container_groups.begin_create_or_update(GROUP, name, definition, polling=False)
    return name


def current(found) -> dict:
    """Give the current state of a group's container."""
    view = found.containers[0].instance_view
    return view.current_state.serialize(keep_readonly=True) if view.current_state else {}


def until(client, name: str, condition):
    """Wait until a group is as it should be, and give it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition(found := client.container_groups.get(GROUP, name)):
        assert time.monotonic() < deadline, f"waited in vain: {found.serialize(keep_readonly=True)}"
        time.sleep(0.01)
    return found


def until_state(client, name: str, *states: str):
    return until(client, name, lambda found: found.instance_view.state in states)


def until_says(client, name: str, word: str) -> str:
    until_state(client, name, "Running", "Succeeded", "Failed")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while word not in (log := client.containers.list_logs(GROUP, name, "run").content):
        assert time.monotonic() < deadline, f"waited in vain for {word}: {log}"
        time.sleep(0.01)
    return log


def refused(status: int, code: str, call, *arguments, **options) -> HttpResponseError:
    with pytest.raises(HttpResponseError) as caught:
        call(*arguments, **options)
    assert (caught.value.status_code, caught.value.error.code) == (status, code)
    return caught.value


@pytest.fixture(scope="package")
def emulator():
    with ArmEmulator(
        images={IMAGE: ()},
        isolated_subnets=[SUBNET],
        registries={"private.example": ("pull", "right")},
        restart_seconds=0.05,
        page_size=2,
        control_port=0,
    ) as emulator:
        yield emulator


@pytest.fixture(scope="package")
def client(emulator):
    with client_of(emulator) as client:
        yield client


@pytest.fixture(autouse=True)
def clean(emulator, client):
    """Leave no fault and no group behind."""
    yield
    emulator.faults.clear()
    for found in list(client.container_groups.list()):
        client.container_groups.begin_delete(GROUP, found.name, polling=False)
