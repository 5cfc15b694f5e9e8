"""Who may use the namespace: shared access signatures over ``$cbs``, or the key itself over SASL PLAIN.

Sources: Microsoft, "Service Bus access control with Shared Access Signatures" and "AMQP 1.0 in Azure Service
Bus and Event Hubs protocol guide", claims-based security.
"""

import base64
import hashlib
import hmac
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from ops.emulators.servicebus.entities.namespace import path_of

#: What a signature begins with. The SDK puts it under the type of a JWT, so the type says nothing.
SAS_TOKEN = "SharedAccessSignature"  # noqa: S105 -- a word
LOOPBACK_NAMES = {"127.0.0.1", "localhost", "::1"}


class TokenError(ValueError):
    """A token does not give what it is for; the text says why."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows.

    Parameters:
      scope: The path below which everything is allowed, in lower case; empty: all.
      until: When it ends, in seconds since the epoch.
    """

    scope: str
    until: float

    def covers(self, path: str, now: float) -> bool:
        """Tell whether it allows a path at a time."""
        wanted = path.lower()
        is_below = not self.scope or wanted == self.scope or wanted.startswith(self.scope + "/")
        return is_below and now < self.until


@dataclass(slots=True)
class Grants:
    """What the tokens of one connection allow."""

    _by_scope: dict[str, Grant] = field(default_factory=dict[str, Grant])

    def add(self, grant: Grant) -> None:
        """Add a grant; it replaces an earlier one for the same scope."""
        self._by_scope[grant.scope] = grant

    def cover(self, path: str) -> bool:
        """Tell whether a path may be used now."""
        now = time.time()
        return any(grant.covers(path, now) for grant in self._by_scope.values())


@dataclass(frozen=True, slots=True)
class Policy:
    """The shared access policy of the namespace, with all rights.

    Parameters:
      name: Its name.
      key: Its key; None: nobody is asked for anything.
    """

    name: str = "RootManageSharedAccessKey"
    key: str | None = None

    def check_plain(self, response: bytes) -> bool:
        """Check the name and key of a SASL PLAIN exchange (RFC 4616)."""
        if self.key is None:
            return True
        parts = response.split(b"\x00")
        return (
            len(parts) == 3
            and hmac.compare_digest(parts[1], self.name.encode())
            and hmac.compare_digest(parts[2], self.key.encode())
        )

    def check_token(self, token: object) -> Grant:
        """Check a token.

        Returns:
          What it allows.

        Raises:
          TokenError: Signature, expiry or resource are wrong.
        """
        if self.key is None:
            return Grant("", float("inf"))
        kind, _, text = token.partition(" ") if isinstance(token, str) else ("", "", "")
        if kind != SAS_TOKEN:
            raise TokenError("This emulator checks shared access signatures only; use the connection string.")
        fields = dict(parse_qsl(text, keep_blank_values=True))
        raw = dict(part.split("=", 1) for part in text.split("&") if "=" in part)
        if not {"sr", "sig", "se", "skn"} <= fields.keys():
            raise TokenError("MalformedToken: a token has the fields sr, sig, se and skn.")
        if fields["skn"] != self.name or not self._is_signed(raw["sr"], raw["se"], unquote(raw["sig"])):
            raise TokenError("InvalidSignature: The token has an invalid signature.")
        if not fields["se"].isascii() or not fields["se"].isdecimal() or int(fields["se"]) <= time.time():
            raise TokenError("ExpiredToken: The token is expired.")
        return Grant(_scope(fields["sr"]), int(fields["se"]))

    def _is_signed(self, resource: str, expiry: str, signature: str) -> bool:
        key = (self.key or "").encode()
        digest = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
        return hmac.compare_digest(base64.b64encode(digest), signature.encode())


def _scope(resource: str) -> str:
    if urlsplit(resource).hostname not in LOOPBACK_NAMES:
        raise TokenError(f"InvalidAudience: the token is for '{resource}', which is not this namespace.")
    return path_of(resource).lower()
