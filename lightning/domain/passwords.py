"""Passwords: what may be one, and the slow comparison that keeps guessing dear."""

import asyncio
from typing import Any, Final

import bcrypt

from lightning.errors import InvalidRequest, Transient

MIN_PASSWORD_CHARS: Final = 8
#: bcrypt reads no further.
MAX_PASSWORD_BYTES: Final = 72
#: bcrypt's cost: a guess takes about 0.2 s.
BCRYPT_ROUNDS: Final = 12

#: Salt and hash of a password that nobody knows, for names that nobody has.
_NOBODY: Final = "nBI1FU/EDEi7cO.YBDwKEuLH9AyQOhrW7b2nQ6eNG7sbG1ZSyxYGu"


class InvalidAccount(InvalidRequest):
    """The username or password is not one that an account can have."""

    code = "invalid_account"
    status = 422


class Passwords:
    """Hashes passwords with bcrypt, few at a time and never on the event loop.

    Parameters:
      rounds: bcrypt's cost; less than `BCRYPT_ROUNDS` only in tests.
      concurrency: Hashes computed at a time, each on a thread of its own for about 0.2 s.
      max_waiting: Callers that may wait for their turn; more are sent away to come again.
    """

    def __init__(self, *, rounds: int = BCRYPT_ROUNDS, concurrency: int = 2, max_waiting: int = 64) -> None:
        self._rounds = rounds
        self._turns = asyncio.Semaphore(concurrency)
        self._room = concurrency + max_waiting

    async def hash(self, secret: bytes) -> str:
        """Hash a password that `checked_password` gave.

        Raises:
          Transient: Too many passwords are being checked (``busy``).
        """
        hashed: bytes = await self._on_thread(bcrypt.hashpw, secret, bcrypt.gensalt(self._rounds))
        return hashed.decode()

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Tell whether a password is the one that was hashed.

        Takes as long when there is no hash, or when the text could be nobody's password.

        Raises:
          Transient: Too many passwords are being checked (``busy``).
        """
        known = hashed is not None
        try:
            secret = checked_password(password)
        except InvalidAccount:
            known, secret = False, b""
        against = f"$2b${self._rounds:02}${_NOBODY}" if hashed is None else hashed
        same: bool = await self._on_thread(bcrypt.checkpw, secret, against.encode())
        return known and same

    async def _on_thread(self, compute: Any, *arguments: bytes) -> Any:
        if self._room <= 0:
            raise Transient("too many sign-ins at once; try again", retry_after=1.0, code="busy")
        self._room -= 1
        try:
            async with self._turns:
                return await asyncio.to_thread(compute, *arguments)
        finally:
            self._room += 1


def checked_password(password: str, pointer: str = "/password") -> bytes:
    """Check that a text can be a password, and give what is hashed of it.

    Parameters:
      password: The text.
      pointer: The field that it came in, for the error.

    Raises:
      InvalidAccount: It cannot; the message says why and does not repeat it.
    """
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        raise InvalidAccount("the password is not text", pointer=pointer) from None
    if len(password) < MIN_PASSWORD_CHARS:
        raise InvalidAccount(f"a password has at least {MIN_PASSWORD_CHARS} characters", pointer=pointer)
    if len(secret) > MAX_PASSWORD_BYTES:
        message = f"a password has at most {MAX_PASSWORD_BYTES} bytes in UTF-8; this one has {len(secret)}"
        raise InvalidAccount(message, pointer=pointer)
    if b"\0" in secret:
        raise InvalidAccount("a password must not hold the character U+0000", pointer=pointer)
    return secret
