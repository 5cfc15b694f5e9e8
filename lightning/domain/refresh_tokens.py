"""Refresh tokens: how they are written, checked and followed. `lightning.domain.sessions` uses them."""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass, replace
from typing import Final, Self

from lightning.errors import Unauthorized

_REFUSED: Final = "the refresh token is not accepted; log in again"
_PREFIX: Final = "lrt_"
_MAX_TOKEN_CHARS: Final = 512


class InvalidRefreshToken(Unauthorized):
    """The refresh token is none, or its session is over."""

    code = "invalid_refresh_token"

    def __init__(self) -> None:
        super().__init__(_REFUSED)


class RefreshTokenReused(InvalidRefreshToken):
    """A refresh token came a second time, which ended its session.

    Parameters:
      user_id: Whose session it was.
    """

    def __init__(self, user_id: str) -> None:
        super().__init__()
        self.user_id = user_id


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """``lrt_`` and four parts with dots between them.

    Parameters:
      user_id: Whose session it is.
      session_id: The session.
      family: Secret of the session, the same in all its tokens.
      secret: Secret of this token.
    """

    user_id: str
    session_id: str
    family: str
    secret: str

    @classmethod
    def first(cls, user_id: str, session_id: str) -> Self:
        """Make the first token of a session."""
        return cls(user_id, session_id, new_secret(), new_secret())

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a token that a client shows.

        Raises:
          InvalidRefreshToken: It has not the form of one.
        """
        parts = text.removeprefix(_PREFIX).split(".")
        if not text.startswith(_PREFIX) or len(text) > _MAX_TOKEN_CHARS or len(parts) != 4:
            raise InvalidRefreshToken
        if not all(part.isascii() and part for part in parts):
            raise InvalidRefreshToken
        return cls(*parts)

    def following(self, salt: str) -> Self:
        """Give the token after this one: whoever has both this one and the salt finds the same."""
        digest = hmac.digest(f"{self.family}.{self.secret}".encode(), salt.encode(), "sha256")
        return replace(self, secret=base64.urlsafe_b64encode(digest).rstrip(b"=").decode())

    def __str__(self) -> str:
        return f"{_PREFIX}{self.user_id}.{self.session_id}.{self.family}.{self.secret}"


def new_secret() -> str:
    """Make a secret of 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """Hash a secret of ours; it needs no slow hash, since nobody can try 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()
