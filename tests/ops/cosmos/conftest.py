"""Emulated accounts, and the real SDK's clients of them."""

import itertools

import pytest
from azure.cosmos import CosmosClient, PartitionKey, exceptions
from azure.cosmos.aio import CosmosClient as AsyncCosmosClient

from ops.emulators.cosmos import CosmosEmulator

NAMES = itertools.count()


def connect(emulator: CosmosEmulator, kind: type = CosmosClient, **options):
    return kind.from_connection_string(
        emulator.connection_string, enable_endpoint_discovery=False, retry_total=0, **options
    )


def document(id: str = "one", user: str = "ada", **values) -> dict:
    return {"id": id, "userID": user, **values}


def refused(status: int, call, *arguments, **options) -> exceptions.CosmosHttpResponseError:
    with pytest.raises(exceptions.CosmosHttpResponseError) as caught:
        call(*arguments, **options)
    assert caught.value.status_code == status
    return caught.value


def token_of(response) -> str:
    return response.get_response_headers()["x-ms-session-token"]


@pytest.fixture(scope="package", params=[1, 3], ids=["one range", "three ranges"])
def emulator(request):
    with CosmosEmulator(ranges=request.param) as emulator:
        yield emulator


@pytest.fixture(scope="package")
def database(emulator):
    with connect(emulator) as client:
        yield client.create_database("lightning")


@pytest.fixture
def make_container(database):
    """Give a function that makes a new container, partitioned by user."""

    def make(**options):
        return database.create_container(f"c{next(NAMES)}", PartitionKey("/userID"), **options)

    return make


@pytest.fixture
def container(make_container):
    return make_container()


@pytest.fixture
async def aio_container(emulator, container):
    """The same container through the asynchronous SDK."""
    async with connect(emulator, AsyncCosmosClient) as client:
        yield client.get_database_client("lightning").get_container_client(container.id)
