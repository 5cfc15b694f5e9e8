"""Tokens: who a caller is, signed. Whether a token was revoked since, `lightning.domain.standings` knows."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import jwt

from lightning.errors import Unauthorized
from lightning.ids import new_id

#: ``user``: a person at the API; ``service``: a program of theirs; ``run``: code in a container;
#: ``stream``: one open stream of a browser.
TokenKind = Literal["user", "service", "run", "stream"]

_ALGORITHM: Final = "HS256"
_MIN_KEY_BYTES: Final = 32  # RFC 7518 section 3.2
_MAX_TOKEN_CHARS: Final = 4096
_MAX_CACHED: Final = 10_000
_OWN_CLAIMS: Final = frozenset({"iss", "aud", "sub", "exp", "iat", "nbf", "jti", "role"})

#: ``iat`` orders nothing: with it, a machine whose clock is a moment behind would refuse fresh tokens.
_OPTIONS: Final[Any] = {
    "require": ["exp", "iss", "aud", "sub", "jti"],
    "verify_iat": False,
    "strict_aud": True,
}


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says.

    Parameters:
      subject: The tenant.
      role: ``user``, ``operator`` or ``service``.
      kind: The kind of token.
      token_id: Id of this very token.
      expires_at: Unix time in seconds from which it is refused.
      extra: The further claims that it was issued with.
    """

    subject: str
    role: str
    kind: TokenKind
    token_id: str
    expires_at: int
    extra: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def session(self) -> str | None:
        """The session that it belongs to."""
        return self.extra.get("sid")

    @property
    def service_token(self) -> str | None:
        """The service token that it is."""
        return self.extra.get("tid")

    @property
    def scopes(self) -> Sequence[str] | None:
        """What it is limited to; None when it allows everything that its owner may."""
        limited = self.kind == "service" or self.service_token is not None
        return self.extra.get("scopes", ()) if limited else None


class TokenIssuer:
    """Issues and verifies signed tokens (JWT, RFC 7519, as RFC 8725 recommends).

    Parameters:
      signing_key: Key of new tokens, at least 32 bytes in UTF-8.
      previous_key: Key whose tokens are still accepted, while keys are rotated.
      issuer: Name of this installation.
      lifetime_seconds: How long a token is valid unless ``issue`` is told otherwise.
      now: Unix time in seconds.

    Raises:
      ValueError: A key is too short.
    """

    def __init__(
        self,
        signing_key: str,
        previous_key: str | None = None,
        issuer: str = "lightning",
        lifetime_seconds: int = 3600,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._issuer = issuer
        self._now = now
        self._keys = {_key_id(key): key for key in (previous_key, signing_key) if key is not None}
        self._current = _key_id(signing_key)
        self._verified: dict[bytes, Claims] = {}
        self._lock = threading.Lock()

    def issue(
        self,
        kind: TokenKind,
        subject: str,
        *,
        role: str = "user",
        lifetime_seconds: int | None = None,
        claims: Mapping[str, Any] | None = None,
    ) -> str:
        """Sign a token.

        Parameters:
          kind: What it may be used for; nothing else accepts it.
          subject: Whom it stands for.
          role: What they are to the platform.
          lifetime_seconds: How long it is valid; the issuer's own by default.
          claims: Further claims, returned as ``Claims.extra``.

        Returns:
          The token in its compact form.

        Raises:
          ValueError: A further claim has a name that is taken.
        """
        if taken := _OWN_CLAIMS.intersection(claims or {}):
            raise ValueError(f"claims that only the issuer sets: {', '.join(sorted(taken))}")
        issued_at = int(self._now())
        payload = {
            **(claims or {}),
            "iss": self._issuer,
            "aud": self._audience(kind),
            "sub": subject,
            "role": role,
            "jti": new_id(),
            "iat": issued_at,
            "exp": issued_at + (self.lifetime_seconds if lifetime_seconds is None else lifetime_seconds),
        }
        headers = {"typ": f"{kind}+jwt", "kid": self._current}
        return jwt.encode(payload, self._keys[self._current], _ALGORITHM, headers)

    def verify(self, token: str, *kinds: TokenKind) -> Claims:
        """Check a token and read it.

        A token that was valid is remembered by its hash until it expires, since checking costs far more.

        Parameters:
          token: What the caller showed.
          kinds: The kinds that are accepted here.

        Returns:
          What the token says.

        Raises:
          Unauthorized: The token is not acceptable; why not is kept from the caller.
        """
        if len(token) > _MAX_TOKEN_CHARS:
            raise _refusal()
        digest = hashlib.sha256(token.encode(errors="surrogatepass")).digest()
        claims = self._verified.get(digest)
        if claims is None:
            claims = self._read(token, kinds)
            self._remember(digest, claims)
        if claims.kind not in kinds or self.is_over(claims):
            raise _refusal()
        return claims

    def is_over(self, claims: Claims) -> bool:
        """Tell whether the time of a token is up."""
        return claims.expires_at <= self._now()

    def _read(self, token: str, kinds: Sequence[TokenKind]) -> Claims:
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(header.get("kid", ""))
            typ = header.get("typ")
            kind: TokenKind | None = next((kind for kind in kinds if typ == f"{kind}+jwt"), None)
            if key is None or kind is None:
                raise _refusal()
            payload = jwt.decode(
                token, key, [_ALGORITHM], _OPTIONS, audience=self._audience(kind), issuer=self._issuer
            )
            return _claims(payload, kind)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise _refusal() from None

    def _remember(self, digest: bytes, claims: Claims) -> None:
        with self._lock:
            if len(self._verified) >= _MAX_CACHED:
                self._verified.pop(next(iter(self._verified)))
            self._verified[digest] = claims

    def _audience(self, kind: TokenKind) -> str:
        return f"{self._issuer}:{kind}"


def _claims(payload: Mapping[str, Any], kind: TokenKind) -> Claims:
    extra = {name: value for name, value in payload.items() if name not in _OWN_CLAIMS}
    role = payload["role"]
    if not isinstance(role, str):
        raise TypeError("role")
    return Claims(
        subject=payload["sub"],
        role=role,
        kind=kind,
        token_id=payload["jti"],
        expires_at=int(payload["exp"]),
        extra=MappingProxyType(extra),
    )


def _key_id(key: str) -> str:
    secret = key.encode()
    if len(secret) < _MIN_KEY_BYTES:
        raise ValueError(f"a signing key has at least {_MIN_KEY_BYTES} bytes")
    return hashlib.sha256(b"lightning kid\0" + secret).hexdigest()[:16]


def _refusal() -> Unauthorized:
    return Unauthorized("the token is not accepted; ask for a new one", code="invalid_token")
