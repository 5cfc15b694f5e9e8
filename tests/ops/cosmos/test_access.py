"""Who may ask: the account's key, its clock, and tokens of Entra ID."""

import base64
import time
from email.utils import formatdate

import httpx2
import jwt
import pytest
from azure.core.credentials import AccessToken
from azure.cosmos import CosmosClient, PartitionKey
from azure.cosmos.aio import CosmosClient as AsyncCosmosClient
from azure.cosmos.auth import _get_authorization_header
from azure.cosmos.documents import SSLConfiguration

from ops.emulators.cosmos import CosmosEmulator
from tests.ops.cosmos.conftest import connect, refused

OTHER_KEY = base64.b64encode(b"k" * 64).decode()


class Identity:
    """A credential of Entra ID whose tokens nobody has signed with anything known."""

    def __init__(self, expires_in: float = 3600) -> None:
        self._expires_at = int(time.time() + expires_in)

    def get_token(self, *scopes, **options) -> AccessToken:
        claims = {"aud": "https://cosmos.azure.com", "exp": self._expires_at}
        return AccessToken(jwt.encode(claims, "k" * 32), int(time.time()) + 3600)


@pytest.fixture
def trusting(tmp_path):
    """Give a function that connects by HTTPS, trusting the emulator's own certificate."""

    def connect_trusting(emulator, identity=None) -> CosmosClient:
        path = tmp_path / "emulator.pem"
        path.write_bytes(emulator.certificate)
        return CosmosClient(
            emulator.endpoint,
            identity or emulator.key,
            ssl_config=SSLConfiguration(),  # without one the SDK trusts anybody on 127.0.0.1
            connection_verify=str(path),
            enable_endpoint_discovery=False,
        )

    return connect_trusting


async def test_the_asynchronous_sdk_speaks_https():
    with CosmosEmulator(https=True) as emulator:
        async with connect(emulator, AsyncCosmosClient) as client:
            assert (await client.create_database("lightning")).id == "lightning"


class Signer:
    """What the SDK's own signature needs of its client."""

    def __init__(self, key: str) -> None:
        self.master_key = key
        self.resource_tokens = None


def signed(key: str, *, seconds_off: float = 0, verb: str = "get") -> dict[str, str]:
    headers = {"x-ms-date": formatdate(time.time() + seconds_off, usegmt=True)}
    signature = _get_authorization_header(Signer(key), verb, "", "", False, "dbs", headers)
    return {**headers, "authorization": httpx2.QueryParams({"a": signature}).__str__()[2:]}


def test_another_key_is_refused(emulator):
    text = emulator.connection_string.replace(emulator.key, OTHER_KEY)
    refused(401, CosmosClient.from_connection_string, text, enable_endpoint_discovery=False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (signed, 200),
        (lambda key: signed(key, seconds_off=-800), 200),
        (lambda key: signed(key, seconds_off=-1000), 403),
        (lambda key: signed(key, seconds_off=1000), 403),
        (lambda key: signed(key, verb="delete"), 401),
        (lambda key: signed(OTHER_KEY), 401),
        (lambda key: {**signed(key), "x-ms-date": formatdate(0, usegmt=True)}, 401),
        (lambda _key: {}, 401),
        (lambda _key: {"authorization": "type%3Dmaster%26ver%3D1.0%26sig%3Dnonsense"}, 401),
        (lambda _key: {"authorization": "Bearer x"}, 401),
    ],
)
def test_a_request_is_signed_with_verb_resource_and_date(emulator, headers, status):
    response = httpx2.get(f"{emulator.endpoint}dbs", headers=headers(emulator.key))
    assert response.status_code == status


def test_tokens_of_entra_are_refused_unless_they_are_accepted(trusting):
    with CosmosEmulator(https=True) as emulator:
        refused(401, trusting, emulator, Identity())


def test_tokens_of_entra_read_and_write_documents_but_manage_nothing(trusting):
    with CosmosEmulator(https=True, accept_tokens=True) as emulator:
        # Given a container that was made with the key
        with trusting(emulator) as client:
            client.create_database("lightning").create_container("events", PartitionKey("/userID"))

        # When an identity comes, then it can write and read, and not create containers
        with trusting(emulator, Identity()) as client:
            database = client.get_database_client("lightning")
            container = database.get_container_client("events")
            container.create_item({"id": "one", "userID": "ada"})
            assert container.read_item("one", "ada")["id"] == "one"
            error = refused(403, database.create_container, "more", PartitionKey("/userID"))
            assert error.sub_status == 5300

        # And with an expired token nothing at all
        refused(401, trusting, emulator, Identity(expires_in=-10))
