"""URLs that users give us to post to, read once and strictly: no second parser sees them."""

import re
from dataclasses import dataclass
from typing import Final

from lightning.errors import InvalidEvent
from lightning.outbound.guard import Guard, ends_in_number, parse_address

MAX_URL_CHARS: Final = 2048

_URL: Final = re.compile(
    r"(?P<scheme>[a-z]+)://(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?(?P<path>[/?].*)?",
    re.IGNORECASE,
)
#: What RFC 3986 lets stand in a path or query; everything else is to be percent-encoded.
_PLAIN: Final = re.compile(r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%#]+")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes.

    Parameters:
      scheme: ``https``, or ``http`` to a host that the operator exempts.
      host: A name in lower case, or an address without brackets.
      port: The TCP port.
      path: Path and query.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The value of the ``Host`` header (RFC 9110, section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


def read_url(url: str, guard: Guard, *, purpose: str = "a webhook") -> Target:
    """Take a URL apart.

    Parameters:
      url: Absolute; host names beyond ASCII in their ``xn--`` form.
      guard: Who is exempt from the rules for hosts and schemes.
      purpose: What it is to be, for the message.

    Raises:
      InvalidEvent: It is not one that we would post to; ``code`` is ``invalid_url`` or, for an
        address that is not public, ``address_refused``.
    """
    try:
        return _read(url, guard)
    except _Wrong as wrong:
        message = f"this URL cannot be {purpose}: {wrong}"
        raise InvalidEvent(message, code="invalid_url", pointer="/url") from None


class _Wrong(Exception):
    """A rule that a URL breaks."""


def _read(url: str, guard: Guard) -> Target:
    if len(url) > MAX_URL_CHARS or not _PLAIN.fullmatch(url):
        raise _Wrong(f"it has at most {MAX_URL_CHARS} characters, all of them ASCII and percent-encoded")
    if "#" in url:
        raise _Wrong("it has no fragment")
    match = _URL.fullmatch(url)
    if match is None:
        raise _Wrong("it looks like https://host/path, without user name or password")
    scheme, host = match["scheme"].lower(), match["host"].lower().strip("[]")
    _check_host(host, bracketed=match["host"].startswith("["), guard=guard)
    exempt = guard.exempts(host)
    if scheme != "https" and not (scheme == "http" and exempt):
        raise _Wrong("it begins with https://")
    port = int(match["port"] or (443 if scheme == "https" else 80))
    if not (1 if exempt else 1024) <= port <= 65535 and port != 443:
        raise _Wrong("its port is 443, or 1024 to 65535")
    path = match["path"] or "/"
    return Target(scheme, host, port, path if path.startswith("/") else f"/{path}")


def _check_host(host: str, *, bracketed: bool, guard: Guard) -> None:
    address = parse_address(host)
    if address is not None and bracketed == (address.version == 6):
        if not guard.permits(host, address):
            raise InvalidEvent("the address is not a public one", code="address_refused", pointer="/url")
        return
    if bracketed or ends_in_number(host):
        raise _Wrong("an address in it is written as 192.0.2.1 or [2001:db8::1]")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise _Wrong("its host is a name such as example.com")
