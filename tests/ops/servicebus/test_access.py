"""Who may use a namespace that has a key."""

import time

import pytest
from azure.core.credentials import AzureSasCredential
from azure.servicebus import ServiceBusClient, ServiceBusMessage
from azure.servicebus._pyamqp.utils import generate_sas_token
from azure.servicebus.exceptions import ServiceBusAuthenticationError, ServiceBusError

from ops.emulators.servicebus import Options, Policy, ServiceBusEmulator
from ops.emulators.servicebus.access import TokenError
from tests.ops.servicebus.raw import connect
from tests.ops.servicebus.sdk import sync_client

NAME, KEY = "RootManageSharedAccessKey", "a-key-of-32-bytes-or-more-in-here"


@pytest.fixture(scope="module")
def guarded():
    with ServiceBusEmulator(Options(policy=Policy(NAME, KEY))) as running:
        yield running


def token(resource: str, *, key: str = KEY, seconds: float = 86_400, name: str = NAME) -> str:
    return generate_sas_token(resource, name, key, int(time.time() + seconds))


def send(client: ServiceBusClient, queue: str) -> None:
    with client.get_queue_sender(queue) as sender:
        sender.send_messages(ServiceBusMessage("x"))


def test_the_connection_string_opens_everything(guarded):
    assert f"SharedAccessKey={KEY}" in guarded.connection_string
    with sync_client(guarded.connection_string) as client:
        send(client, "q")
        with client.get_queue_receiver("q") as receiver:
            assert len(receiver.peek_messages(1)) == 1


def test_a_wrong_key_opens_nothing(guarded):
    wrong = guarded.connection_string.replace(KEY, "wrong" + KEY)
    with sync_client(wrong) as client, pytest.raises(ServiceBusAuthenticationError):
        send(client, "q")


def test_a_token_for_one_queue_opens_no_other(guarded):
    # Given a token whose resource is one queue
    port = guarded.connection_string.split(";")[0].rpartition(":")[2]
    credential = AzureSasCredential(token(f"sb://127.0.0.1:{port}/mine"))
    string = (
        f"Endpoint=sb://127.0.0.1:{port};SharedAccessSignature={credential.signature};"
        "UseDevelopmentEmulator=true"
    )
    with sync_client(string) as client:
        # Then it opens that, with its dead letters, and not another
        send(client, "mine")
        with client.get_queue_receiver("mine", sub_queue="deadletter") as receiver:
            assert receiver.peek_messages(1) == []
        with pytest.raises(ServiceBusError, match="Unauthorized access to 'minerals'"):
            send(client, "minerals")


@pytest.mark.parametrize(
    ("put", "says"),
    [
        (token("sb://127.0.0.1:5672/q", seconds=-1), "ExpiredToken"),
        (token("sb://127.0.0.1:5672/q", key="other"), "InvalidSignature"),
        (token("sb://127.0.0.1:5672/q", name="other"), "InvalidSignature"),
        (token("sb://elsewhere.servicebus.windows.net/q"), "InvalidAudience"),
        (token("sb://127.0.0.1:5672/q").replace("se=", "se=9"), "InvalidSignature"),
        (token("sb://127.0.0.1:5672/q").replace("%2fq", "%2fp").replace("%2Fq", "%2Fp"), "InvalidSignature"),
        ("SharedAccessSignature sr=x", "MalformedToken"),
        ("nonsense", "shared access signatures only"),
        (None, "shared access signatures only"),
    ],
)
def test_a_token_that_is_wrong_is_told_why(put, says):
    with pytest.raises(TokenError, match=says):
        Policy(NAME, KEY).check_token(put)


def test_another_kind_of_token_is_refused_by_name():
    with pytest.raises(TokenError, match="shared access signatures only"):
        Policy(NAME, KEY).check_token("ey.J.x")


async def test_a_link_without_a_token_is_refused(guarded):
    async with connect(guarded) as client:
        assert await client.sasl() == 0
        await client.open()
        await client.begin()
        await client.attach("q", 0, receiver=False)
        assert await client.detached() == "amqp:unauthorized-access"


@pytest.mark.parametrize(("response", "code"), [(f"\0{NAME}\0{KEY}", 0), (f"\0{NAME}\0no", 1), ("", 1)])
async def test_the_key_can_be_given_by_sasl_plain(guarded, response, code):
    async with connect(guarded) as client:
        assert await client.sasl("PLAIN", response.encode()) == code
        if code == 0:
            await client.open()
            await client.begin()
            attached = await client.attach("q", 0, receiver=False)
            assert attached.field(6) is not None


async def test_a_link_ends_with_its_token(guarded):
    # Given a client whose right lasts for a moment
    async with connect(guarded) as client:
        await client.sasl("PLAIN", f"\0{NAME}\0{KEY}".encode())
        await client.open()
        await client.begin()
        await client.attach("q", 0, receiver=False)
        guarded.call(shorten)
        # Then its link is detached as it ends
        assert await client.detached() == "amqp:unauthorized-access"


def shorten(server) -> None:
    from ops.emulators.servicebus.access import Grant

    for connection in server.container.clients:
        server.container._grant(connection, Grant("", time.time() + 0.1))
