"""Accounts: who may ask for a token.

The account's id, which is the tenant of everything that the person owns, follows from the username. So one
conditional create makes a name unique, and one point read finds it: there is no second document to keep in
step. For the same reason a username never changes.
"""

import asyncio
import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import bcrypt

from lightning.errors import Conflict, InvalidRequest, Transient, Unauthorized
from lightning.ids import account_id
from lightning.storage import Create, Storage

MIN_USERNAME_CHARS: Final = 3
MAX_USERNAME_CHARS: Final = 64
MIN_PASSWORD_CHARS: Final = 8
#: bcrypt reads no further.
MAX_PASSWORD_BYTES: Final = 72

#: Longer ones are refused as they come: composing characters shortens a name, but not by so much.
_MAX_RAW_CHARS: Final = 4 * MAX_USERNAME_CHARS
_DOCUMENT_ID: Final = "account"
_PUNCTUATION: Final = frozenset("._-@+")
#: Salt and hash of a password that nobody knows, for names that nobody has.
_NOBODY: Final = "nBI1FU/EDEi7cO.YBDwKEuLH9AyQOhrW7b2nQ6eNG7sbG1ZSyxYGu"


class InvalidAccount(InvalidRequest):
    """The username or password is not one that an account can have."""

    code = "invalid_account"
    status = 422


@dataclass(frozen=True, slots=True)
class Account:
    """A person or program that has a log of its own.

    Parameters:
      id: The tenant: ``userID`` of its events and documents.
      username: Its name in normal form.
      role: ``user``, ``operator`` or ``service``.
    """

    id: str
    username: str
    role: str


class Accounts:
    """Accounts in a store, their passwords as bcrypt hashes only.

    Parameters:
      storage: The store.
      container: Its container of users.
      rounds: bcrypt's cost; less than 12 only in tests.
      concurrency: Hashes computed at a time, each on a thread of its own for about 0.2 s.
      max_waiting: Callers that may wait for their turn; more are sent away to come again.
    """

    def __init__(
        self,
        storage: Storage,
        container: str = "users",
        *,
        rounds: int = 12,
        concurrency: int = 2,
        max_waiting: int = 64,
    ) -> None:
        self._storage = storage
        self._container = container
        self._rounds = rounds
        self._turns = asyncio.Semaphore(concurrency)
        self._room = concurrency + max_waiting

    async def register(self, username: str, password: str, *, role: str = "user") -> Account:
        """Make an account.

        Parameters:
          username: 3 to 64 letters, digits and ``. _ - @ +``; case and Unicode variants do not matter.
          password: At least 8 characters and at most 72 bytes.
          role: What the account is to the platform.

        Returns:
          The account.

        Raises:
          InvalidAccount: The username or password will not do; the pointer says which.
          Conflict: The username is taken (``username_taken``).
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        name = normal_username(username)
        secret = _checked_password(password)
        hashed = await self._on_thread(bcrypt.hashpw, secret, bcrypt.gensalt(self._rounds))
        account = Account(account_id(name), name, role)
        try:
            await self._storage.batch(self._container, account.id, [Create(_body(account, hashed))])
        except Conflict:
            message = "the username is taken; choose another"
            raise Conflict(message, code="username_taken", pointer="/username") from None
        return account

    async def authenticate(self, username: str, password: str) -> Account:
        """Tell whose username and password these are.

        Takes as long for a name that nobody has as for a wrong password.

        Parameters:
          username: As registered, in any case.
          password: The password.

        Returns:
          The account.

        Raises:
          Unauthorized: Either is wrong; which one is not told (``wrong_credentials``).
          Transient: Too many passwords are being checked, or the store does not answer.
        """
        body = await self._find(username)
        hashed = f"$2b${self._rounds:02}${_NOBODY}" if body is None else str(body["passwordHash"])
        try:
            secret = _checked_password(password)
        except InvalidAccount:
            body, secret = None, b""
        same = await self._on_thread(bcrypt.checkpw, secret, hashed.encode())
        if body is None or not same:
            raise Unauthorized("wrong username or password", code="wrong_credentials")
        return Account(body["userID"], body["username"], body["role"])

    async def _find(self, username: str) -> dict[str, Any] | None:
        try:
            partition = account_id(normal_username(username))
        except InvalidAccount:
            return None
        stored = await self._storage.get(self._container, partition, _DOCUMENT_ID)
        return None if stored is None else stored.body

    async def _on_thread(self, compute: Any, *arguments: bytes) -> Any:
        if self._room <= 0:
            raise Transient("too many sign-ins at once; try again", retry_after=1.0, code="busy")
        self._room -= 1
        try:
            async with self._turns:
                return await asyncio.to_thread(compute, *arguments)
        finally:
            self._room += 1


def normal_username(username: str) -> str:
    """Bring a username into the form under which it is unique: NFKC, case folded.

    Raises:
      InvalidAccount: It is no username.
    """
    composed = unicodedata.normalize("NFKC", username[:_MAX_RAW_CHARS])
    name = unicodedata.normalize("NFKC", composed.casefold())
    if len(username) > _MAX_RAW_CHARS or not MIN_USERNAME_CHARS <= len(name) <= MAX_USERNAME_CHARS:
        message = f"a username has {MIN_USERNAME_CHARS} to {MAX_USERNAME_CHARS} characters"
        raise InvalidAccount(message, pointer="/username")
    if not all(_in_username(character) for character in name):
        raise InvalidAccount("a username has only letters, digits and . _ - @ +", pointer="/username")
    return name


def _in_username(character: str) -> bool:
    category = unicodedata.category(character)
    return character in _PUNCTUATION or category.startswith("L") or category == "Nd"


def _checked_password(password: str) -> bytes:
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        raise InvalidAccount("the password is not text", pointer="/password") from None
    if len(password) < MIN_PASSWORD_CHARS:
        raise InvalidAccount(f"a password has at least {MIN_PASSWORD_CHARS} characters", pointer="/password")
    if len(secret) > MAX_PASSWORD_BYTES:
        message = f"a password has at most {MAX_PASSWORD_BYTES} bytes in UTF-8; this one has {len(secret)}"
        raise InvalidAccount(message, pointer="/password")
    if b"\0" in secret:
        raise InvalidAccount("a password must not hold the character U+0000", pointer="/password")
    return secret


def _body(account: Account, hashed: bytes) -> dict[str, Any]:
    return {
        "id": _DOCUMENT_ID,
        "userID": account.id,
        "username": account.username,
        "role": account.role,
        "passwordHash": hashed.decode(),
        "createdAt": datetime.now(UTC).isoformat(),
    }
