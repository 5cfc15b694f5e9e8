"""HTTP as agents speak it, against servers that say exactly these bytes."""

import io
import os
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress

import pytest

from agents.http import HttpError, request
from ops.emulators.cosmos.certificate import make_certificate

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"


class Server:
    """Takes one connection, reads a request, and says what it was told to."""

    def __init__(self, said, *, reads=True):
        self.heard = b""
        self._said, self._reads = said, reads
        self._door = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._door.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        with self._door, self._door.accept()[0] as connection, connection.makefile("rb") as file:
            while self._reads and not self.heard.endswith(b"\r\n\r\n"):
                self.heard += file.readline()
            size = self.header("content-length")
            self.heard += file.read(int(size)) if size and self._reads else b""
            connection.sendall(self._said)

    def header(self, name):
        lines = self.heard.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
        return dict(line.split(": ") for line in lines).get(name)

    def close(self):
        self._thread.join(10)
        assert not self._thread.is_alive()


@contextmanager
def serving(said, **options):
    server = Server(said, **options)
    try:
        yield server
    finally:
        server.close()


def ask(said, method="GET", body=None, path="/x"):
    with serving(said) as server, request(method, server.url + path, {}, body, timeout_seconds=10) as answer:
        return answer.status, answer.read(), server


def test_a_request_says_whom_it_is_for_and_how_much_it_brings():
    status, content, server = ask(HEAD + b"content-length: 2\r\n\r\n{}", "POST", b"four", "/a/b?c=d")
    assert (status, content) == (200, b"{}")
    assert server.heard.startswith(b"POST /a/b?c=d HTTP/1.1\r\n")
    assert server.heard.endswith(b"\r\n\r\nfour")
    assert server.header("host") == server.url.removeprefix("http://")
    assert (server.header("connection"), server.header("content-length")) == ("close", "4")


def test_a_file_is_sent_from_where_it_stands():
    file = io.BytesIO(b"not this" + b"x" * 600_000)
    file.seek(8)
    _, _, server = ask(HEAD + b"\r\n", "PUT", file)
    assert server.heard.partition(b"\r\n\r\n")[2] == b"x" * 600_000


@pytest.mark.parametrize(
    ("said", "status", "content"),
    [
        (HEAD + b"Content-Length: 3\r\n\r\nabcmore", 200, b"abc"),
        (HEAD + b"\r\nto the end", 200, b"to the end"),
        (CHUNKED + b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\nz: 1\r\n\r\n", 200, b"abc0123456789"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + HEAD + b"content-length: 1\r\n\r\na", 200, b"a"),
        (b"HTTP/1.1 204 No Content\r\n\r\nnothing", 204, b""),
        (b"HTTP/1.0 503\r\n\r\nlater", 503, b"later"),
    ],
    ids=["length", "end", "chunks", "provisional", "none", "old"],
)  # fmt: skip
def test_an_answer_is_read_to_its_end_and_no_further(said, status, content):
    assert ask(said)[:2] == (status, content)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 20x OK\r\n\r\n",
        HEAD + b"no header\r\n\r\n",
        HEAD + b"content-length: 4\r\n\r\nabc",
        HEAD + b"content-length: -4\r\n\r\nabc",
        HEAD + b"transfer-encoding: gzip\r\n\r\nabc",
        CHUNKED + b"3\r\nab",
        CHUNKED + b"3\r\nabc\r\n",
        CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
        CHUNKED + b"2\r\nabc\r\n0\r\n\r\n",
        HEAD + b"a: b\r\n" * 101 + b"\r\n",
        HEAD + b"a" * 70_000 + b": b\r\n\r\n",
    ],
    ids=range(14),
)
def test_what_is_no_answer_or_half_of_one_is_said_to_be_so(said):
    with pytest.raises(HttpError):
        ask(said)


def test_who_refuses_a_request_before_its_end_is_heard():
    # Given a server that answers after the head, and hangs up on the rest without reading it
    with socket.create_server(("127.0.0.1", 0)) as door:

        def refuse():
            with door.accept()[0] as connection:
                connection.recv(1024)
                connection.sendall(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\n{}")

        refusing = threading.Thread(target=refuse)
        refusing.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        # When more is sent to it than the kernel holds
        with request("PUT", url, {}, io.BytesIO(b"x" * 50_000_000), timeout_seconds=10) as answer:
            # Then what it said is heard, though the sending broke off
            assert (answer.status, answer.read()) == (413, b"{}")
        refusing.join(10)


@pytest.mark.parametrize(
    "url",
    ["ftp://127.0.0.1/", "//127.0.0.1/", "http:///x", "http://a@127.0.0.1/", "http://127.0.0.1/a b",
     "http://127.0.0.1/\r\nx: y", "http://127.0.0.1/ä", "http://127.0.0.1:port/"],
)  # fmt: skip
def test_an_address_that_cannot_be_asked_is_refused(url):
    with pytest.raises(ValueError), request("GET", url, {}, timeout_seconds=1):  # noqa: PT011
        pass


def test_a_header_brings_no_second_one():
    with (
        pytest.raises(ValueError, match="authorization"),
        request("GET", "http://127.0.0.1:9", {"authorization": "a\r\nx: y"}, timeout_seconds=1),
    ):
        pass


def test_who_says_nothing_is_waited_for_no_longer_than_allowed():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TimeoutError), request("GET", url, {}, timeout_seconds=0.2):
            pass


@pytest.fixture
def encrypted():
    """A server that speaks TLS, its own authority, as the bytes of its certificate."""
    certificate, context = make_certificate()
    with socket.create_server(("127.0.0.1", 0)) as door:

        def serve():
            with suppress(OSError), context.wrap_socket(door.accept()[0], server_side=True) as connection:
                connection.recv(65536)
                connection.sendall(HEAD + b"content-length: 2\r\n\r\n{}")

        serving = threading.Thread(target=serve)
        serving.start()
        yield f"https://localhost:{door.getsockname()[1]}", certificate
        serving.join(10)


def test_who_has_no_certificate_that_is_trusted_is_told_nothing(encrypted):
    with pytest.raises(ssl.SSLCertVerificationError), request("GET", encrypted[0], {}, timeout_seconds=10):
        pass


def test_it_speaks_tls_with_whom_the_system_trusts(encrypted, tmp_path):
    url, certificate = encrypted
    trusted = tmp_path / "authorities.pem"
    trusted.write_bytes(certificate)
    code = "import sys; from agents.http import request\n"
    code += (
        "with request('GET', sys.argv[1], {}, timeout_seconds=10) as answer: print(answer.read().decode())"
    )
    command = [sys.executable, "-S", "-c", code, url]
    said = subprocess.run(
        command,
        check=False,
        env={**os.environ, "SSL_CERT_FILE": str(trusted)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert said.stdout == "{}\n", said.stderr
