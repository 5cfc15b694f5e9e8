"""Whose address a request comes from, also behind proxies."""

import ipaddress
from typing import Final

from starlette.requests import HTTPConnection

from lightning.domain.sessions import Origin
from lightning.settings import Settings

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: One customer of a provider has at least so many bits' worth of IPv6 addresses (RFC 6177).
IPV6_PREFIX: Final = 64

#: A longer chain of proxies is no honest one.
_MAX_HOPS: Final = 20


def origin(request: HTTPConnection, settings: Settings) -> Origin:
    """Give the address that limits apply to, and what the client calls itself."""
    forwarded = ",".join(request.headers.getlist("x-forwarded-for"))
    peer = "" if request.client is None else request.client.host
    address = client_address(peer, forwarded, settings.trusted_proxies or "")
    return Origin(address, request.headers.get("user-agent", ""))


def client_address(peer: str, forwarded: str, trusted: str) -> str:
    """Find the client among the addresses that proxies report.

    Each proxy appends whom it got the request from, so the list is read from its end for as long as the one
    who wrote an entry is trusted. Everything before may be invented.

    Parameters:
      peer: Who connected.
      forwarded: ``X-Forwarded-For``.
      trusted: The proxies' addresses and networks, with commas.

    Returns:
      The client's address; of IPv6 its network of 64 bits; whatever ``peer`` is, if that is no address.
    """
    address = _address(peer)
    if address is None:
        return peer
    networks = [ipaddress.ip_network(network.strip()) for network in trusted.split(",") if network.strip()]
    for entry in reversed(forwarded.split(",")[-_MAX_HOPS:]):
        if not _within(address, networks) or (reported := _address(entry.strip())) is None:
            break
        address = reported
    return _limited(address)


def _address(text: str) -> Address | None:
    """Read an address, which some proxies write with a port."""
    host = text
    if text.startswith("["):
        host = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        host = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def _within(address: Address, networks: list[Network]) -> bool:
    return any(address in network for network in networks)


def _limited(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((int(address), IPV6_PREFIX), strict=False))
