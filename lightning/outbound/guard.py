"""Which addresses the platform may be sent to by its users.

Public means: global unicast by the special-purpose registries of IANA
(RFC 6890), and no other form of an address that is not. IPv6 forms that carry
an IPv4 address (mapped, 6to4, Teredo, NAT64) are refused whole: what they lead
to is decided by whoever translates them.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


#: IPv4 that is not public: private, shared (RFC 6598), special, documentation, benchmarking, multicast.
_NOT_PUBLIC_4: Final = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "168.63.129.16/32",  # Azure's own services, as every virtual machine sees them
)

#: Only this is global unicast (RFC 4291); loopback, mapped, NAT64, ULA, link-local and multicast are outside.
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")

#: Special purposes within it: protocol assignments with Teredo, documentation, 6to4, AS112.
_NOT_PUBLIC_6: Final = _networks("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20")

#: No operator may allow these: nothing but a cloud's metadata service, or nobody, answers there.
_NEVER: Final = _networks(
    "0.0.0.0/8",
    "169.254.0.0/16",
    "168.63.129.16/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "fd00:ec2::254/128",
    "fe80::/10",
    "ff00::/8",
)

_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")


def is_public(address: IPAddress) -> bool:
    """Tell whether everybody on the internet would reach the same host there."""
    if isinstance(address, ipaddress.IPv4Address):
        return not _in(address, _NOT_PUBLIC_4)
    return address in _GLOBAL_6 and not _in(address, _NOT_PUBLIC_6)


def parse_address(text: str) -> IPAddress | None:
    """Read an address in its one usual form; None for names and for every odd notation."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Guard:
    """Says where requests for users may go.

    Parameters:
      hosts: Names that are exempt, in lower case.
      networks: Networks that are exempt.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[_Network, ...] = ()

    @classmethod
    def allowing(cls, text: str) -> "Guard":
        """Read what the operator exempts.

        Parameters:
          text: Names, addresses and networks (CIDR), separated by commas.

        Raises:
          ValueError: An entry is none of them, or holds addresses that nobody may exempt.
        """
        hosts: set[str] = set()
        networks: list[_Network] = []
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            try:
                network = ipaddress.ip_network(entry)
            except ValueError:
                if not _HOST.fullmatch(entry) or "/" in entry or ends_in_number(entry):
                    raise ValueError("an entry is no host name, address or network") from None
                hosts.add(entry)
                continue
            if any(network.version == never.version and network.overlaps(never) for never in _NEVER):
                raise ValueError("an entry holds addresses that must never be reached, such as metadata")
            networks.append(network)
        return cls(frozenset(hosts), tuple(networks))

    def exempts(self, host: str) -> bool:
        """Tell whether a host of a URL, name or literal address, is exempt by itself."""
        address = parse_address(host)
        if address is None:
            return host in self.hosts
        return _in(_unmapped(address), self.networks)

    def permits(self, host: str, address: IPAddress) -> bool:
        """Tell whether a host may be reached at one of its addresses."""
        plain = _unmapped(address)
        if _in(plain, _NEVER):
            return False
        return host in self.hosts or _in(plain, self.networks) or is_public(address)


def ends_in_number(host: str) -> bool:
    """Tell whether resolvers may take a host for an IPv4 address (WHATWG URL, "ends in a number")."""
    last = host.removesuffix(".").rpartition(".")[2]
    return bool(re.fullmatch(r"[0-9]+|0[xX][0-9a-fA-F]*", last))


def _unmapped(address: IPAddress) -> IPAddress:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _in(address: IPAddress, networks: Iterable[_Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
