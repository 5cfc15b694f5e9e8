"""What a run reaches: its API through one door, the internet if it may, and never the host."""

import asyncio
import fcntl
import hashlib
import json
import shutil
import socket
import struct
from contextlib import asynccontextmanager

import pytest

from lightning.containers.sandbox import SandboxRunner
from lightning.errors import Permanent
from tests.lightning.containers.runs import finish, python


@pytest.fixture
def runner(tmp_path):
    return SandboxRunner(tmp_path / "runs", images=tmp_path / "images")


@asynccontextmanager
async def api(path, answer):
    """Serve a unix socket, by a function of reader and writer."""

    async def serve(reader, writer):
        try:
            await answer(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(serve, path)
    async with server:
        yield path


async def test_the_run_api_is_a_plain_address_inside(runner, tmp_path):
    # Given an API on a unix socket that digests what it gets until the end, and answers at length
    async def answer(reader, writer):
        digest = hashlib.sha256()
        while data := await reader.read(65536):
            digest.update(data)
        writer.write(digest.hexdigest().encode() + bytes(3 << 20))
        await writer.drain()

    # When several connections of a run send at length at once, and then listen
    program = """
import hashlib, os, socket, threading
host, port = os.environ["URL"].removeprefix("http://").split(":")
def talk(seed):
    data = bytes([seed]) * (2 << 20)
    with socket.create_connection((host, int(port))) as one:
        one.sendall(data)
        one.shutdown(socket.SHUT_WR)
        got = b""
        while piece := one.recv(65536):
            got += piece
    assert got == hashlib.sha256(data).hexdigest().encode() + bytes(3 << 20), len(got)
    print("same", flush=True)
threads = [threading.Thread(target=talk, args=[seed]) for seed in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""
    async with api(tmp_path / "api.sock", answer) as path:
        spec = python("talks", program, environment={"URL": runner.api_url}, api_socket=path)
        _, output = await finish(runner, spec)
    # Then every byte arrived, both ways
    assert output == "same\n" * 8


async def test_more_connections_than_are_carried_wait_for_their_turn(runner, tmp_path):
    async def answer(reader, writer):
        writer.write(await reader.readexactly(1))
        await writer.drain()

    program = """
import socket
many = [socket.create_connection(("127.0.0.1", 8000)) for _ in range(100)]
for at, one in enumerate(many):
    one.sendall(bytes([at]))
    assert one.recv(1) == bytes([at])
    one.close()
print("all")
"""
    async with api(tmp_path / "api.sock", answer) as path:
        _, output = await finish(runner, python("many", program, api_socket=path))
    assert output == "all\n"


async def test_what_the_api_cuts_is_cut_inside_and_an_absent_api_is_no_hang(runner, tmp_path):
    async def answer(_reader, writer):
        writer.transport.abort()

    program = """
import socket
with socket.create_connection(("127.0.0.1", 8000), timeout=20) as one:
    try: print(one.recv(1))
    except ConnectionResetError: print(b"")
"""
    async with api(tmp_path / "api.sock", answer) as path:
        assert (await finish(runner, python("cut", program, api_socket=path)))[1] == "b''\n"
    absent = tmp_path / "nobody.sock"
    assert (await finish(runner, python("absent", program, api_socket=absent)))[1] == "b''\n"


async def test_without_an_api_there_is_no_door(runner):
    program = "import socket; print(socket.socket().connect_ex(('127.0.0.1', 8000)))"
    assert (await finish(runner, python("shut", program)))[1] == "111\n"


async def test_a_network_that_cannot_be_given_is_refused_with_what_to_do(runner, tmp_path, monkeypatch):
    # Given a machine without slirp4netns
    monkeypatch.setenv("PATH", str(tmp_path))
    for network, hint in (("full", "install slirp4netns"), (["example.org"], "full or none")):
        with pytest.raises(Permanent, match=hint) as refused:
            await runner.start(python("refused", "", network=network))
        assert refused.value.code == "network_unsupported"
    # Then nothing was started
    assert [run async for run in runner.list()] == []


async def test_an_operator_can_give_no_run_a_network(tmp_path):
    cautious = SandboxRunner(tmp_path / "runs", images=tmp_path / "images", connected=False)
    program = "import socket; print([name for _, name in socket.if_nameindex()])"
    assert (await finish(cautious, python("alone", program, network="full")))[1] == "['lo']\n"


@pytest.mark.skipif(shutil.which("slirp4netns") is None, reason="slirp4netns is not installed")
async def test_a_run_with_the_network_does_not_reach_the_host(runner):
    # Given a server on the loopback of the host
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program = f"""
import errno, json, socket
def reach(address, port, kind):
    with socket.socket(socket.AF_INET, kind) as one:
        one.settimeout(10)
        try: one.connect((address, port))
        except OSError as error: return errno.errorcode.get(error.errno, str(error))
        return ""
routes = [line.split() for line in open("/proc/net/route").read().splitlines()[1:]]
hosts = [line[1] for line in routes if line[7] == "FFFFFFFF"]
rejected = [socket.inet_ntoa(bytes.fromhex(each)[::-1]) for each in hosts]
print(json.dumps({{
    "interfaces": [name for _, name in socket.if_nameindex()],
    "own loopback": reach("127.0.0.1", {port}, socket.SOCK_STREAM),
    "gateway": reach("10.0.2.2", {port}, socket.SOCK_STREAM),
    "metadata": reach("169.254.169.254", 80, socket.SOCK_DGRAM),
    "rejected": {{each: reach(each, {port}, socket.SOCK_DGRAM) for each in rejected}},
    "names": open("/etc/resolv.conf").read(),
    "default": [line[0] for line in routes if line[1] == "00000000"],
}}))
"""
        # When a run with the network looks for it
        _, output = await finish(runner, python("connected", program, network="full"))
    found = json.loads(output)
    # Then it has a way out, which leads neither to the host nor to the cloud's metadata
    assert found["interfaces"] == ["lo", "tap0"]
    assert found["default"] == ["tap0"]
    assert found["names"] == "nameserver 10.0.2.3\n"
    assert found["own loopback"] == "ECONNREFUSED"
    assert found["gateway"] in {"ECONNREFUSED", "ENETUNREACH"}
    assert found["metadata"] == "EHOSTUNREACH"
    assert set(found["rejected"].values()) == {"EHOSTUNREACH"}
    assert found["rejected"].keys() >= {"168.63.129.16", *own_addresses()}


def own_addresses() -> set[str]:
    """List the addresses of this machine that its name and its interfaces give, loopback left out."""
    found = set()
    for _, name in socket.if_nameindex():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            try:
                answer = fcntl.ioctl(one, 0x8915, struct.pack("256s", name.encode()))  # SIOCGIFADDR
            except OSError:
                continue
        found.add(socket.inet_ntoa(answer[20:24]))
    return {address for address in found if not address.startswith("127.")}
