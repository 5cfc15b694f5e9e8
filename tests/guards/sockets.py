"""No test reaches past this machine: every other address is refused, and the test fails.

An audit hook (PEP 578) sees every socket of the interpreter, those of C code and of asyncio too. uvloop
opens its connections outside the interpreter, so its two ways out are wrapped. Processes that a test
starts are on their own. A namespace of Service Bus that ``LIGHTNING_TEST_SERVICEBUS`` names may be reached.
"""

import ipaddress
import os
import re
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import uvloop

_LOCAL_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost"}
_RESOLVING = {"socket.getaddrinfo", "socket.gethostbyname"}
_CONNECTING = {"socket.connect", "socket.sendto", "socket.sendmsg"}

#: Every address refused so far, so that a test fails even if the code under test swallowed the error.
refused: list[str] = []


class RemoteAddressError(OSError):
    """Something tried to reach an address that is not of this machine."""


def pytest_configure(config: pytest.Config) -> None:
    """Set the guard before anything of ours is imported; an audit hook stays for the process's life."""
    guard = _Guard(_named_servers())
    config.stash[_GUARD] = guard
    sys.addaudithook(guard.audit)
    _wrap_uvloop(guard)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let go, for what the interpreter does at its end."""
    config.stash[_GUARD].armed = False


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run for what no test was blamed for: imports, threads left behind."""
    if refused:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["refused"] = refused


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a worker of pytest-xdist what was refused there."""
    refused.extend(getattr(node, "workeroutput", {}).get("refused", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the addresses."""
    if refused:
        terminalreporter.section("addresses beyond this machine")
        terminalreporter.write_line("\n".join(sorted(set(refused))))


@pytest.fixture(autouse=True)
def only_loopback() -> Iterator[None]:
    """Fail the test during which an address beyond this machine was tried."""
    before = len(refused)
    yield
    if len(refused) > before:
        pytest.fail(f"reached for {', '.join(refused[before:])}: tests stay on loopback")


def _named_servers() -> frozenset[str]:
    """Names and addresses of what the caller of the tests wants them to use."""
    connection_string = os.environ.get("LIGHTNING_TEST_SERVICEBUS", "")
    hosts = re.findall(r"Endpoint=sb://([^:/;]+)", connection_string)
    return frozenset(hosts) | {str(found[4][0]) for host in hosts for found in socket.getaddrinfo(host, None)}


class _Guard:
    armed = True

    def __init__(self, named: frozenset[str]) -> None:
        self._named = named

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in _RESOLVING:
            self.check(arguments[0])
        elif event in _CONNECTING and isinstance(arguments[1], tuple):  # a path or None is a local socket
            self.check(arguments[1][0])

    def check(self, host: object) -> None:
        if not is_local(host) and str(host) not in self._named:
            refused.append(str(host))
            raise RemoteAddressError(f"{host!r} is not an address of this machine")


_GUARD = pytest.StashKey[_Guard]()


def is_local(host: object) -> bool:
    """Tell whether a host, as sockets take it, is this machine; ``0.0.0.0`` and ``::`` are."""
    if host is None or isinstance(host, int):  # an int is the family of a netlink address
        return True
    name = host.decode(errors="replace") if isinstance(host, bytes | bytearray) else str(host)
    if name in _LOCAL_NAMES:
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback or address.is_unspecified


def _wrap_uvloop(guard: _Guard) -> None:
    original_connection, original_datagram = (
        uvloop.Loop.create_connection,
        uvloop.Loop.create_datagram_endpoint,
    )
    original_getaddrinfo = uvloop.Loop.getaddrinfo

    async def create_connection(loop: Any, factory: Any, host: Any = None, *rest: Any, **options: Any) -> Any:
        guard.check(host)
        return await original_connection(loop, factory, host, *rest, **options)

    async def create_datagram_endpoint(
        loop: Any, factory: Any, local_addr: Any = None, remote_addr: Any = None, **options: Any
    ) -> Any:
        guard.check(remote_addr and remote_addr[0])
        return await original_datagram(loop, factory, local_addr, remote_addr, **options)

    async def getaddrinfo(loop: Any, host: Any, *rest: Any, **options: Any) -> Any:
        guard.check(host)
        return await original_getaddrinfo(loop, host, *rest, **options)

    uvloop.Loop.create_connection = create_connection
    uvloop.Loop.create_datagram_endpoint = create_datagram_endpoint
    uvloop.Loop.getaddrinfo = getaddrinfo
