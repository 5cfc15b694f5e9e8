"""The guards themselves: each is proved by a run that it must turn red."""

import asyncio
import socket

import pytest
import uvloop

from tests.guards import sockets
from tests.guards.inner import run_inner
from tests.guards.skips import read_allowed

REMOTE = ("192.0.2.1", 9)  # RFC 5737: an address for documentation, that nobody has


@pytest.fixture
def expected() -> None:
    """Take back what the test below was refused on purpose."""
    before = len(sockets.refused)
    yield
    assert len(sockets.refused) > before, "nothing was refused"
    del sockets.refused[before:]


@pytest.fixture
def tcp():
    with socket.socket() as tcp:
        tcp.settimeout(0.2)
        yield tcp


@pytest.mark.usefixtures("expected")
class TestRemoteAddresses:
    def test_connect(self, tcp):
        with pytest.raises(sockets.RemoteAddressError):
            tcp.connect(REMOTE)

    def test_connect_ex(self, tcp):
        with pytest.raises(sockets.RemoteAddressError):
            tcp.connect_ex(REMOTE)

    def test_sendto(self):
        with socket.socket(type=socket.SOCK_DGRAM) as udp, pytest.raises(sockets.RemoteAddressError):
            udp.sendto(b"x", REMOTE)

    @pytest.mark.parametrize("name", ["example.invalid", b"example.invalid", "169.254.169.254"])
    def test_names(self, name):
        with pytest.raises(sockets.RemoteAddressError):
            socket.getaddrinfo(name, 80)

    @pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
    @pytest.mark.parametrize("host", [REMOTE[0], "example.invalid"])
    def test_event_loops(self, new_loop, host):
        async def reach() -> None:
            await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, 9)

        with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(sockets.RemoteAddressError):
            runner.run(reach())


@pytest.mark.parametrize("new_loop", [asyncio.SelectorEventLoop, uvloop.new_event_loop])
def test_loopback_is_open(new_loop):
    async def talk() -> bytes:
        server = await asyncio.start_server(
            lambda _, writer: (writer.write(b"hello"), writer.close()), "localhost", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            try:
                return await reader.read()
            finally:
                writer.close()
                await writer.wait_closed()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(talk()) == b"hello"


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "localhost", "::ffff:127.0.0.1", "0.0.0.0", None, b""]
)
def test_local_hosts(host):
    assert sockets.is_local(host)


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "::ffff:192.0.2.1", "fe80::1%eth0", "127.0.0.1.example.com", "2130706434"]
)
def test_remote_hosts(host):
    assert not sockets.is_local(host)


@pytest.fixture(params=["-n0", "-n1"])
def cores(request) -> str:
    """Whether pytest-xdist runs the tests, in processes of their own."""
    return request.param


def test_a_swallowed_attempt_still_fails_the_test(tmp_path, cores):
    source = f"""
import socket

def test_it():
    try:
        socket.create_connection({REMOTE}, timeout=0.1)
    except OSError:
        pass
"""
    run = run_inner(tmp_path, cores, {"test_inner.py": source})
    assert run.returncode == 1
    assert "reached for 192.0.2.1" in run.stdout


def test_an_attempt_of_no_test_fails_the_run(tmp_path, cores):
    source = f"""
import socket

try:
    socket.create_connection({REMOTE}, timeout=0.1)
except OSError:
    pass

def test_it(): ...
"""
    run = run_inner(tmp_path, cores, {"test_inner.py": source})
    assert run.returncode == 1, run.stdout
    assert "192.0.2.1" in run.stdout.rpartition("addresses beyond this machine")[2]


SKIPPED = """
import pytest

@pytest.mark.skip(reason="no server")
def test_it(): ...

@pytest.mark.xfail
def test_other(): assert False

def test_good(): ...
"""


def test_an_unlisted_skip_fails_the_run(tmp_path, cores):
    run = run_inner(tmp_path, cores, {"test_inner.py": SKIPPED})
    assert run.returncode == 1
    assert "tests/test_inner.py::test_it" in run.stdout.rpartition("does not allow")[2]


def test_a_listed_skip_does_not(tmp_path, cores):
    allowed = "# servers\ntests/test_inner.py::*it | there is no server\n"
    run = run_inner(tmp_path, cores, {"test_inner.py": SKIPPED}, allowed)
    assert run.returncode == 0, run.stdout


def test_a_skipped_module_fails_the_run(tmp_path, cores):
    source = "import pytest\npytest.importorskip('no_such_module')\n"
    run = run_inner(tmp_path, cores, {"test_inner.py": source})
    assert run.returncode == 1, run.stdout


def test_brackets_in_the_list_are_plain(tmp_path):
    path = tmp_path / "allowed.txt"
    path.write_text("tests/x.py::test[cosmos*] | why\n")
    (pattern,) = read_allowed(path)
    assert pattern.fullmatch("tests/x.py::test[cosmos-1]")
    assert not pattern.fullmatch("tests/x.py::testc")


def test_the_list_needs_reasons(tmp_path):
    path = tmp_path / "allowed.txt"
    path.write_text("tests/x.py::test\n")
    with pytest.raises(pytest.UsageError, match=":1: write"):
        read_allowed(path)
