"""Requests to users' addresses: where they go, how long they take, how much they read."""

import asyncio
import datetime as dt
import ipaddress
import ssl
import time

import httpcore2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from lightning.outbound import Answer, Guard, Outbound, SendError, Target, read_url
from tests.receiver import receiving

LOOPBACK = Guard.allowing("127.0.0.1")


class CountingConnections(httpcore2.AsyncNetworkBackend):
    """Remembers the addresses that connections were asked for, and leads all to one port of loopback."""

    def __init__(self, port=None, refusing=()):
        self.asked = []
        self.port = port
        self.refusing = refusing

    async def connect_tcp(self, host, port, timeout=None, local_address=None, socket_options=None):  # noqa: ASYNC109
        self.asked.append((host, port))
        if self.port is None or host in self.refusing:
            raise httpcore2.ConnectError("nothing there")
        return await httpcore2.AnyIOBackend().connect_tcp("127.0.0.1", self.port, timeout)


class Names:
    """A resolver whose answers are given, one list after another; the last one holds."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append(host)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(scope="module")
def receiver():
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate for hooks.example.com, signed by itself: its files, and a context that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hooks.example.com")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("hooks.example.com")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder


@pytest.fixture
def tls_receiver(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with receiving(context) as receiver:
        receiver.names = []
        context.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
        yield receiver


async def post(outbound, url, **headers) -> Answer:
    return await outbound.post(read_url(url, outbound.guard), b"{}", headers)


async def refused(outbound, url) -> SendError:
    with pytest.raises(SendError) as error:
        await post(outbound, url)
    return error.value


class TestAddress:
    @pytest.mark.parametrize(
        "addresses",
        [
            ["127.0.0.1"],
            ["10.0.0.1"],
            ["169.254.169.254"],
            ["fe80::1%eth0"],
            ["::1"],
            ["fd00:ec2::254"],
            ["::ffff:10.0.0.1"],
            ["64:ff9b::7f00:1"],
            ["8.8.8.8", "192.168.0.1"],
            ["2606:4700::1111", "8.8.8.8", "::1"],
            ["not an address"],
        ],
    )
    async def test_no_connection_is_tried_when_one_address_is_not_public(self, addresses):
        # Given a name with an address that is not public, alone or among others
        connections = CountingConnections()
        outbound = Outbound(Guard(), resolve=Names(addresses), connections=connections)
        # When something is posted there
        error = await refused(outbound, "https://rebound.example/")
        # Then nobody was connected to
        assert error.code == "address_refused"
        assert connections.asked == []

    async def test_a_name_is_resolved_once_and_that_address_is_used(self, receiver):
        # Given a name that is public when it is asked first, and loopback ever after
        names, connections = Names(["8.8.8.8"], ["127.0.0.1"]), CountingConnections(receiver.port)
        outbound = Outbound(Guard.allowing("rebound.example"), resolve=names, connections=connections)
        # When something is posted there
        answer = await post(outbound, "http://rebound.example:8080/ok/rebound")
        # Then it went to the address that was checked, under the name
        assert (names.asked, connections.asked) == (["rebound.example"], [("8.8.8.8", 8080)])
        assert answer.status == 204
        assert receiver.to("/ok/rebound")[0].headers["host"] == "rebound.example:8080"

    async def test_every_request_is_checked_anew(self, receiver):
        # Given a name that was public for a first request
        names, connections = Names(["8.8.8.8"], ["127.0.0.1"]), CountingConnections(receiver.port)
        outbound = Outbound(Guard(), resolve=names, connections=connections)
        assert (await refused(outbound, "https://rebound.example/")).code == "tls_failed"
        # When it is loopback for a second
        # Then it is refused, and no connection of the first is used again
        assert (await refused(outbound, "https://rebound.example/")).code == "address_refused"
        assert connections.asked == [("8.8.8.8", 443)]

    async def test_the_next_address_is_tried_when_one_does_not_answer(self, receiver):
        connections = CountingConnections(receiver.port, refusing={"2606:4700::1"})
        outbound = Outbound(
            Guard.allowing("two.example"), resolve=Names(["2606:4700::1", "8.8.8.8"]), connections=connections
        )
        assert (await post(outbound, "http://two.example/ok/next")).status == 204
        assert [host for host, _ in connections.asked] == ["2606:4700::1", "8.8.8.8"]

    @pytest.mark.parametrize("answer", [OSError("no such name"), UnicodeError("label too long"), []])
    async def test_a_name_without_address(self, answer):
        outbound = Outbound(Guard(), resolve=Names(answer), connections=CountingConnections())
        assert (await refused(outbound, "https://nowhere.example/")).code == "name_not_found"

    async def test_a_literal_address_is_checked_again(self):
        # Given a URL that was read when the rules were others
        connections = CountingConnections()
        outbound = Outbound(Guard(), connections=connections)
        target = Target("https", "127.0.0.1", 443, "/")
        # When something is posted there
        with pytest.raises(SendError) as error:
            await outbound.post(target, b"{}", {})
        # Then it is refused all the same
        assert error.value.code == "address_refused"
        assert connections.asked == []

    async def test_the_environment_names_no_proxy(self, receiver, monkeypatch):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, "http://127.0.0.1:9/")
        assert (await post(Outbound(LOOPBACK), f"{receiver.url}/ok/direct")).status == 204

    async def test_nobody_listens(self):
        outbound = Outbound(
            Guard.allowing("x.example"), resolve=Names(["8.8.8.8"]), connections=CountingConnections()
        )
        assert (await refused(outbound, "http://x.example/")).code == "connection_failed"


class TestTls:
    async def test_the_certificate_is_verified_for_the_name_of_the_url(self, tls_receiver, certificate):
        # Given a receiver whose certificate is for the name, at an address that only the resolver knows
        outbound = Outbound(
            Guard(),
            resolve=Names(["8.8.8.8"]),
            connections=CountingConnections(tls_receiver.port),
            tls=ssl.create_default_context(cafile=str(certificate / "cert.pem")),
        )
        # When something is posted to the name
        answer = await post(outbound, "https://hooks.example.com/ok/tls")
        # Then the name was asked for, and verified
        assert answer.status == 204
        assert tls_receiver.names == ["hooks.example.com"]
        # And another name at the same address is not believed
        assert (await refused(outbound, "https://other.example.com/ok/tls")).code == "tls_failed"
        assert len(tls_receiver.to("/ok/tls")) == 1

    async def test_a_certificate_that_nobody_vouches_for_is_refused(self, tls_receiver):
        outbound = Outbound(
            Guard(), resolve=Names(["8.8.8.8"]), connections=CountingConnections(tls_receiver.port)
        )
        assert (await refused(outbound, "https://hooks.example.com/ok/tls")).code == "tls_failed"
        assert tls_receiver.posts == []


class TestBounds:
    @pytest.mark.parametrize(
        ("behaviour", "status"), [("hang", None), ("trickle", None), ("trickle_body", 200)]
    )
    async def test_the_whole_answer_has_one_deadline(self, receiver, behaviour, status):
        outbound = Outbound(LOOPBACK, timeout_seconds=0.5)
        started = time.monotonic()
        error = await refused(outbound, f"{receiver.url}/{behaviour}")
        assert (error.code, error.answered) == ("timeout", status)
        assert 0.4 < time.monotonic() - started < 2

    async def test_the_deadline_covers_the_name(self):
        async def never(host, port):
            await asyncio.sleep(60)

        outbound = Outbound(Guard(), timeout_seconds=0.2, resolve=never, connections=CountingConnections())
        assert (await refused(outbound, "https://slow.example/")).code == "timeout"

    async def test_an_endless_answer_is_cut(self, receiver):
        started = time.monotonic()
        answer = await post(Outbound(LOOPBACK, timeout_seconds=10), f"{receiver.url}/endless")
        assert (answer.status, len(answer.body)) == (200, 1024)
        assert time.monotonic() - started < 5

    async def test_a_redirect_is_an_answer_like_any_other(self, receiver):
        answer = await post(Outbound(LOOPBACK), f"{receiver.url}/redirect/1")
        assert (answer.status, answer.headers["location"]) == (307, f"{receiver.url}/ok/redirected")
        assert [post.path for post in receiver.posts if "redirected" in post.path] == []

    @pytest.mark.parametrize("behaviour", ["broken", "silent"])
    async def test_what_is_not_http(self, receiver, behaviour):
        assert (await refused(Outbound(LOOPBACK), f"{receiver.url}/{behaviour}")).code == "broken_answer"

    async def test_nothing_of_ours_is_sent_but_what_is_meant(self, receiver):
        await post(Outbound(LOOPBACK), f"{receiver.url}/ok/headers?key=value", **{"webhook-id": "1"})
        [post_] = receiver.to("/ok/headers?key=value")
        assert set(post_.headers) == {"host", "accept-encoding", "connection", "webhook-id", "content-length"}
        assert post_.body == b"{}"


def test_loopback_is_what_these_tests_exempt():
    assert LOOPBACK.permits("127.0.0.1", ipaddress.ip_address("127.0.0.1"))
    assert not LOOPBACK.permits("127.0.0.1", ipaddress.ip_address("127.0.0.2"))
